"""A connection to a board that is a process of this machine, and how it fails."""

from __future__ import annotations

import ast
import json
import os
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from time import sleep

import pytest
from typer.testing import CliRunner

from ponas_deploy.boards.book import Board, Entry, add_board, book_path, read_book
from ponas_deploy.boards.bootstrap import MARK, bootstrap, command_there, runner_source
from ponas_deploy.boards.facts import BoardFacts, ask_board, kept_record
from ponas_deploy.boards.link import BoardError, connected
from ponas_deploy.boards.runner import runtime
from ponas_deploy.commands import app
from ponas_deploy.errors import FileFormatError
from ponas_deploy.machines.machine import this_machine

HERE = Entry("here", Board(command=(), python=sys.executable))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The board's user has a home of his own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return tmp_path


def posing(tmp_path: Path, code: str) -> Entry:
    """A board whose python is a program of a test."""
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\n{code}\n")
    script.chmod(0o755)
    return Entry("poser", Board(command=(), python=str(script)))


def test_the_runner_is_sent_once_and_kept_by_its_hash(home: Path) -> None:
    with connected(HERE) as link:
        assert link.round_trip_ms() > 0
        first = link.sent_bytes
    with connected(HERE) as link:
        assert link.sent_bytes < first - len(runner_source())
    folder = home / ".cache" / "ponas"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (kept,) = folder.iterdir()
    assert kept.read_bytes() == runner_source()
    kept.write_bytes(b"raise SystemExit(7)")  # somebody changed it: it is sent again
    with connected(HERE) as link:
        link.ask("echo", dict)
    assert kept.read_bytes() == runner_source()


def test_a_board_says_what_it_is(home: Path) -> None:
    with connected(HERE) as link:
        record = ask_board(HERE, link)
    facts = record.facts
    assert facts.architecture == this_machine().architecture
    assert facts.memory_mib == pytest.approx(this_machine().memory_mib, rel=0.01)
    assert facts.python == sys.version.split()[0]
    versions = {one.name: one.version for one in facts.runtimes}
    assert versions["onnxruntime"]
    assert "tensorrt-rtx" in versions
    assert versions["numpy"]
    assert kept_record(HERE) == record


@pytest.mark.parametrize("module", ["tensorrt_rtx", "tensorrt_rtx_bindings"])
def test_tensorrt_for_rtx_is_found_by_either_module(
    home: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(home))
    if not find_spec("tensorrt_rtx_bindings"):
        assert runtime("tensorrt-rtx")["problem"] == "not installed"
    (home / f"{module}.py").write_text("__version__ = '1.7.1.116'")
    assert runtime("tensorrt-rtx") == {
        "name": "tensorrt-rtx",
        "version": "1.7.1.116",
        "offers": [],
        "problem": "",
    }
    (home / f"{module}.py").write_text("import its_library")
    assert runtime("tensorrt-rtx")["problem"] == "ModuleNotFoundError: No module named 'its_library'"


def test_a_folder_that_is_no_folder_is_passed_over(home: Path) -> None:
    (home / ".cache").write_text("")
    with connected(HERE) as link:
        assert link.ask("describe", BoardFacts).folder == str(home / ".ponas")


def test_what_a_login_shell_prints_before_does_not_count(home: Path) -> None:
    code = f"import os, sys; print('Welcome!', {MARK.decode()!r}); sys.stdout.flush()\n"
    noisy = posing(home, f"{code}os.execv({sys.executable!r}, [{sys.executable!r}] + sys.argv[1:])")
    with connected(noisy) as link:
        assert link.round_trip_ms(1) > 0


@pytest.mark.parametrize(
    ("code", "reason", "most_s"),
    [
        ("import sys; sys.exit('no such board')", r"the connection ended \(no such board\)", 60),
        ("import sys; sys.exit('Warning: x\\nfirst\\nlast')", r"the connection ended \(first\)", 60),
        ("import sys; sys.exit('x' * 999)", r"the connection ended \(x{200}\)", 60),
        (
            "import sys; sys.exit('Welcome\\nme@host: Permission denied (publickey).')",
            r"the connection ended \(me@host: Permission denied \(publickey\): another user, or --key\)",
            60,
        ),
        ("import sys; sys.exit(255)", r"the connection ended \(exit code 255\)", 60),
        ("import time; time.sleep(60)", "gave no answer for 1 s", 1),
        ("print('x' * 3_000_000, flush=True)", "the connection ended", 60),
    ],
)
def test_a_board_that_does_not_answer_is_one_sentence(
    home: Path, code: str, reason: str, most_s: float
) -> None:
    with pytest.raises(BoardError, match=rf"^poser: {reason}"), connected(posing(home, code), most_s):
        pass


OLD = """import os, sys
code = sys.argv[3].replace("exec(", "old = type('V', (tuple,), {})((3, 6, 9)); sys.version_info = old; exec(")
os.execv(@python, [@python, '-u', '-c', code])"""


def test_an_old_python_is_a_sentence(home: Path) -> None:
    with (
        pytest.raises(BoardError, match=r"its Python is .*, 3\.8 or newer is needed"),
        connected(posing(home, OLD.replace("@python", repr(sys.executable)))),
    ):
        pass


HOSTILE = """import re, struct, sys
code = sys.stdin.buffer.read(int(sys.argv[3].split("(")[-1].rstrip(")")))
number = re.search(rb'\\+ b"(\\w+)', code).group(1)
out = sys.stdout.buffer
def send(data):
    out.write(struct.pack(">I", len(data)) + data)
    out.flush()
out.write(@mark + number + b"\\n")
send(b'{"runner": true}')
sys.stdin.buffer.read(4)
@answer
sys.stdin.buffer.read()
"""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("send(b'[1]')", "something else"),
        ("send(b'{')", "not valid JSON"),
        ('send(b\'{"answer": {"processor": 1}}\')', "expected"),
        ('send(b\'{"error": "\\x1b]0;owned\\x07"}\')', "poser"),
        ("out.write(b'\\xff\\xff\\xff\\xff'); out.flush()", "the connection ended"),
    ],
)
def test_a_hostile_answer_is_refused(home: Path, answer: str, reason: str) -> None:
    entry = posing(home, HOSTILE.replace("@mark", repr(MARK)).replace("@answer", answer))
    with pytest.raises((BoardError, FileFormatError), match=reason), connected(entry, 10) as link:
        link.ask("describe", BoardFacts, 10)


def test_what_nobody_asked_for_is_not_read(home: Path) -> None:
    said = home / "said"
    flood = f"""
for number in range(300):
    send(bytes([32]) * (1 << 20))
    open({str(said)!r}, "w").write(str(number))
"""
    code = HOSTILE.replace("@mark", repr(MARK)).replace("@answer", flood)
    with connected(posing(home, code)) as link:
        link._send(b"{}")
        sleep(1)
        assert int(said.read_text() or 0) < 10


def test_of_what_ssh_says_the_end_is_kept(home: Path) -> None:
    code = "import sys; sys.stderr.write('x' * 5_000_000 + chr(10) + 'no such board'); sys.exit(1)"
    with (
        pytest.raises(BoardError, match=r"the connection ended \(no such board\)") as raised,
        connected(posing(home, code)),
    ):
        pass
    link = next(frame.frame.f_locals["link"] for frame in raised.traceback if "link" in frame.frame.f_locals)
    assert len(link._errors) == 64 << 10


def test_old_pythons_can_read_what_is_sent() -> None:
    ast.parse(runner_source(), feature_version=(3, 8))
    first = ast.parse(bootstrap("1"), feature_version=(3, 7))  # as old as ast still knows
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr)
    assert not any(isinstance(node, newer) for node in ast.walk(first))


def test_the_runner_ends_with_its_connection(home: Path) -> None:
    code = bootstrap("1")
    words = command_there(sys.executable, code)
    process = subprocess.Popen(
        [*words[:-1], words[-1].strip("'")], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stdin is not None
    process.stdin.write(code)
    process.stdin.close()
    assert process.wait(20) == 0


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def test_the_book_by_commands(home: Path) -> None:
    added, text = invoke("devices", "add", "here", "--command", "", "--python", sys.executable, "--json")
    assert added == 0
    assert json.loads(text)["record"]["facts"]["cores"] == len(os.sched_getaffinity(0))
    assert json.loads(invoke("devices", "--json")[1])["boards"]["here"]["python"] == sys.executable
    assert "not asked yet" not in invoke("devices", "list")[1]
    assert "onnxruntime" in invoke("devices", "show", "here")[1]
    assert invoke("devices", "test", "here")[0] == 0
    assert invoke("devices", "add", "here", "--command", "")[0] == 1
    assert invoke("devices", "remove", "here")[0] == 0
    assert read_book() == ()


def test_a_board_that_does_not_answer_is_not_written_down(home: Path) -> None:
    missing = ("devices", "add", "gone", "--command", "/nowhere/ssh")
    code, text = invoke(*missing)
    assert code == 1
    assert "/nowhere/ssh cannot be started" in text
    assert not book_path().exists()
    assert invoke(*missing, "--offline")[0] == 0
    assert "not asked yet" in invoke("devices", "show", "gone")[1]


def test_the_backends_of_a_board_need_not_be_installed_here(home: Path) -> None:
    named = ("devices", "add", "jetson", "--host", "jetson", "--offline", "--backend")
    for unknown in ("nothing", "fake"):
        assert invoke(*named, unknown)[0] == 1
    assert read_book() == ()
    assert invoke(*named, "tensorrt")[0] == 0
    assert read_book()[0].board.backends == ("tensorrt",)


def test_a_board_on_which_nothing_can_be_measured_is_said_so_at_once(home: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "bare"], check=True)
    python = str(home / "bare" / "bin" / "python")
    code, text = invoke("devices", "add", "bare", "--command", "", "--python", python)
    assert code == 0
    assert "bare: nothing there can be measured: on the board, pip install onnxruntime numpy" in text
    assert [entry.name for entry in read_book()] == ["bare"]


def test_a_book_that_is_broken_is_said_by_the_commands(home: Path) -> None:
    add_board("here", HERE.board)
    book_path().write_text("[here\n")
    code, text = invoke("devices")
    assert code == 1
    assert "devices.toml" in text
