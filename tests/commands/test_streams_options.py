"""Whatever standard output is, no command shows a traceback: any encoding, closed, full, or not read."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.message import EncodeError

from ponas_deploy.commands.boundary import refusal

ROOT = Path(__file__).resolve().parents[2]


def run(
    *arguments: str, first: str = "", streams: str = "", cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """A command as a process of its own, in a shell that does something `first` and redirects `streams`."""
    command = ["sh", "-c", f'{first} "$0" "$@" {streams}', sys.executable, str(ROOT / "cli.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, capture_output=True, cwd=cwd, env=environment, timeout=120)


@pytest.fixture
def tables(tmp_path: Path) -> tuple[str, ...]:
    latency, loss = tmp_path / "latency.csv", tmp_path / "loss.csv"
    latency.write_text("layer,candidate,latency_ms\nL1,grün,1\nL1,b,2\nL2,a,1.5\nL2,b,3\n", encoding="utf-8")
    loss.write_text("layer,candidate,loss_pp\nL1,grün,2\nL1,b,0\nL2,a,1\nL2,b,0\n", encoding="utf-8")
    return ("--latency-table", str(latency), "--accuracy-table", str(loss))


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "cp437"])
def test_any_encoding(encoding: str, tables: tuple[str, ...]) -> None:
    """The plot's axis is one that the encoding has; a label it lacks is replaced, not the whole command."""
    done = run("pareto", *tables, PYTHONIOENCODING=encoding)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    text = done.stdout.decode(encoding)
    assert "loss pp" in text
    below = text[text.index("loss pp\n") :].splitlines()[1:]
    assert below
    assert below[0][7] in "|│", below[0]


@pytest.mark.parametrize(
    "command", [("--help",), ("specialize", "--help"), ("devices",), ("describe", "PONAS-A", "--json")]
)
def test_full_and_closed_outputs(command: tuple[str, ...]) -> None:
    full = run(*command, streams="> /dev/full")
    assert full.returncode == 1
    assert (
        full.stderr.decode()
        .strip()
        .endswith("error: standard output: No space left on device: make room there, and start again.")
    )
    closed = run(*command, streams=">&-")
    assert (closed.returncode, closed.stderr) == (0, b"")
    silent = run(*command, streams="2>&-")
    assert silent.returncode == 0


def test_help_in_ascii() -> None:
    done = run("specialize", "--help", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = run("export", "PONAS-A", "--out", "engine", first='rmdir "$PWD";', cwd=gone)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"the current folder is gone: change to one that exists." in done.stderr


def test_names_too_long_and_links_in_a_circle(tmp_path: Path) -> None:
    ring = tmp_path / "ring"
    ring.symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(ring)
    table = tmp_path / "table.csv"
    table.write_text("layer,candidate,latency_ms\nL1,a,1\n")
    for name in ("n" * 5000, str(ring)):
        for command in (
            ("table", "check", f"{name}.csv"),
            ("table", "check", name),
            ("table", "fit", str(table), "--out", f"{name}/x.json"),
            ("train", "status", name),
            ("verify", name),
            ("export", "PONAS-A", "--out", f"{name}/engine"),
            ("describe", f"{name}.json"),
        ):
            done = run(*command)
            assert done.returncode in (1, 2), command
            assert b"Traceback" not in done.stderr, done.stderr.decode()[-800:]
            assert len(done.stderr) < 6000


def test_what_the_system_refuses_is_said_with_what_may_help() -> None:
    place = OSError(errno.EACCES, os.strerror(errno.EACCES), "/x/y")
    assert refusal(place) == "/x/y: Permission denied: change its permissions, or name another place."
    assert refusal(MemoryError()).startswith("there is not enough memory")
    for error in (
        EncodeError("Failed to serialize proto"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    ):
        assert refusal(error) == refusal(MemoryError())
    assert refusal(ValueError("out of memory")) == "", "what somebody typed, perhaps"
    assert refusal(RuntimeError("can't start new thread")).endswith("(ulimit -u).")
    assert refusal(RuntimeError("a bug")) == ""
    assert refusal(ValueError("a bug")) == ""
