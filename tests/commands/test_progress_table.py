"""The table of long work: a row for each device and runtime, whole at any width; lines in a pipe."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from test_colours import COLOURED, run_on_a_terminal
from test_commands import ROOT

from ponas_deploy.commands.output import note
from ponas_deploy.commands.progress_table import bar_in, progress_table, table_of
from ponas_deploy.commands.screen import DRAWN, Screen
from ponas_deploy.profiling.progress import (
    DONE,
    FAILED,
    LEFT_OUT,
    WAITING,
    ProfilingProgress,
    at_stage,
    of_device,
    of_runtime,
)
from ponas_deploy.tables.latency import Conditions

ORT, OPENVINO = (
    Conditions("box", "onnxruntime", "fp32", 1, 1),
    Conditions("box", "openvino", "bf16", 1, 1),
)
CERTIFIED = "mean error 1.2 %, noise floor 0.5 %"
TOO_SLOW = "a network took 3.1 times as long as in the fastest, its profile alone takes 900 s"
ROUND = ProfilingProgress("measure", 3, 9, 60.0, "round 3 of 9 at most")
BUILT = ProfilingProgress("build", 26, 163, 75.0, "building block k5e3@32x10x10-51029811")


def rows() -> list[ProfilingProgress]:
    """One row of each kind."""
    found = [at_stage(WAITING), BUILT, ROUND, at_stage(DONE, CERTIFIED, took_s=75.4)]
    found += [at_stage(LEFT_OUT, TOO_SLOW), at_stage(FAILED, "no memory.")]
    return [
        replace(row, device=f"amd-epyc-{number}c", runtime="onnxruntime fp32", resolution=224)
        for number, row in enumerate(found)
    ]


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", text).replace("\r", "\n")


def lines_at(width: int, shown: list[ProfilingProgress]) -> list[str]:
    file = StringIO()
    Console(file=file, width=width, color_system=None).print(table_of(shown, width))
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    return lines


def words_of(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


@pytest.mark.parametrize("width", [80, 160])
def test_rows_say_where_each_profile_is_at_any_width(width: int) -> None:
    lines = lines_at(width, rows())
    waiting, built, measured, done = lines[2:6]
    assert waiting.split() == ["amd-epyc-0c", "onnxruntime", "fp32", "waiting"]
    assert "building 26 of 163: block" in built
    assert built.endswith("75 s left")
    assert "round 3 of 9 at most" in measured
    assert measured.endswith("60 s left")
    assert CERTIFIED in done
    assert done.endswith("took 75 s")
    said = words_of(lines[6:])
    assert "failed: no memory." in said
    assert f"left out: {TOO_SLOW}" in said, "the reason is told whole"
    assert ("━" in built) == (width == 160), "a bar where there is room"
    assert any(TOO_SLOW in line for line in lines) == (width == 160), "on one line where there is room"


def test_a_resolution_is_named_where_there_are_several() -> None:
    row = replace(ROUND, runtime="openvino fp32", resolution=160)
    assert "160 px" not in words_of(lines_at(80, [row]))
    both = words_of(lines_at(80, [row, replace(row, resolution=224)]))
    assert "openvino fp32 at 160 px" in both
    assert "openvino fp32 at 224 px" in both
    assert "device" not in both, "it is one"


@pytest.fixture
def shown() -> StringIO:
    return StringIO()


@pytest.fixture
def screen(shown: StringIO) -> Screen:
    return Screen(Console(file=shown, force_terminal=True, width=80, color_system=None))


def test_a_table_stays_when_all_its_rows_are_finished(screen: Screen, shown: StringIO) -> None:
    with progress_table(screen) as on_progress:
        first, second = (of_runtime(one, 32, on_progress) for one in (ORT, OPENVINO))
        for report in (first, second):
            report(at_stage(WAITING))
        first(ROUND)
        first(at_stage(DONE, CERTIFIED, took_s=9.0))
        assert DRAWN.locked(), "the other one is waited for"
        shown.truncate(0)
        second(at_stage(LEFT_OUT, "it is slow"))
        assert not DRAWN.locked()
        left = plain(shown.getvalue())
        assert CERTIFIED in left
        assert "left out: it is slow" in left
        shown.truncate(0)
    assert shown.getvalue() == "", "nothing is printed twice"


def test_nothing_stays_of_tables_that_were_there(screen: Screen, shown: StringIO) -> None:
    with progress_table(screen) as on_progress:
        report = of_runtime(ORT, 32, on_progress)
        report(at_stage(WAITING))
        shown.truncate(0)
        report(at_stage(DONE, f"kept, {CERTIFIED}"))
    assert CERTIFIED not in shown.getvalue()


def test_an_interruption_leaves_the_last_state_and_the_cursor(screen: Screen, shown: StringIO) -> None:
    def interrupted() -> None:
        with progress_table(screen) as on_progress:
            of_runtime(OPENVINO, 32, on_progress)(at_stage(WAITING))
            of_runtime(ORT, 32, on_progress)(ROUND)
            shown.truncate(0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not DRAWN.locked()
    erased, cursor, left = shown.getvalue().rpartition("\x1b[?25h")
    assert cursor, erased
    assert "waiting" in plain(left)
    assert "round 3 of 9 at most" in plain(left)


def test_notes_stand_whole_above_the_table(monkeypatch: pytest.MonkeyPatch, shown: StringIO) -> None:
    monkeypatch.setattr(sys, "stderr", shown)
    screen = Screen(Console(stderr=True, force_terminal=True, width=80, color_system=None))
    said = "5 of 5 rounds were disturbed (other processes used 81 % of the cores): going on for at most 3 s"
    with progress_table(screen) as on_progress:
        on_progress(ROUND)
        shown.truncate(0)
        note(said)
        above, _, below = plain(shown.getvalue()).partition("runtime")
        assert said in " ".join(above.split())
        assert "round 3 of 9 at most" in below


def test_steps_of_other_work_are_a_row(screen: Screen, shown: StringIO) -> None:
    with progress_table(screen) as on_progress:
        with bar_in(on_progress, "stock networks")() as advance:
            advance(2, 20, "mobilenetv3_large_100")
            assert "building 2 of 20: mobilenetv3_large_100" in shown.getvalue()
            assert DRAWN.locked()
        assert not DRAWN.locked()


def test_each_device_has_a_line_of_its_own_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_table() as on_progress:
        for device in ("jetson", "pi", "jetson"):
            report = of_device(device, on_progress)
            assert report is not None
            report(at_stage(WAITING))
            report(replace(BUILT, text="building block 1"))
            report(at_stage(DONE))
    assert capsys.readouterr().err.splitlines() == [
        "jetson: build: building block 1, 75 s left",
        "pi: build: building block 1, 75 s left",
    ]


def test_no_time_is_named_where_none_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_table() as on_progress:
        on_progress(ProfilingProgress("measure", 3, 9, 0.0, "round 3"))
        on_progress(at_stage(DONE))
    assert capsys.readouterr().err == "measure: round 3\n"


SCRIPT = """
import sys
from ponas_deploy.commands.output import note, print_json
from ponas_deploy.commands.progress_table import progress_table
from test_progress_table import CERTIFIED, OPENVINO, ORT, ROUND, TOO_SLOW
from ponas_deploy.profiling.progress import DONE, LEFT_OUT, WAITING, at_stage, of_runtime

with progress_table() as on_progress:
    first, second = (of_runtime(one, 32, on_progress) for one in (ORT, OPENVINO))
    for report in (first, second):
        report(at_stage(WAITING))
    first(ROUND)
    with open(sys.argv[1], "w") as sys.stdout:
        print_json({"made": 1})
    note("a note, " + TOO_SLOW)
    first(at_stage(DONE, CERTIFIED, took_s=9.0))
    second(at_stage(LEFT_OUT, TOO_SLOW))
"""


@pytest.mark.parametrize(("columns", "colours"), [(80, {}), (160, {"NO_COLOR": "1"})])
def test_a_terminal_has_notes_above_one_table(tmp_path: Path, columns: int, colours: dict[str, str]) -> None:
    """A terminal of its own; the document goes to a file while the table is drawn."""
    document = tmp_path / "document.json"
    path = os.pathsep.join((str(ROOT), str(Path(__file__).parent), str(ROOT / "tests")))
    command = [sys.executable, "-c", SCRIPT, str(document)]
    written = run_on_a_terminal(command, columns, PYTHONPATH=path, **colours)
    assert bool(COLOURED.search(written)) != bool(colours)
    assert json.loads(document.read_text(encoding="utf-8")) == {"made": 1}
    final = on_screen(written.decode())
    assert max(map(len, final)) <= columns
    assert final[0].startswith("a note, a network took 3.1 times")
    assert sum("state" in line for line in final) == 1, "frames were drawn over each other"
    assert any(CERTIFIED in line and line.endswith("took 9 s") for line in final)
    assert written.count(b"\x1b[?25l") == written.count(b"\x1b[?25h"), "the cursor is there again"


def on_screen(written: str) -> list[str]:
    """The lines that are left when all that erases has erased: what a terminal of endless height shows."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", written):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part[0] not in "\x1b\r":
            lines[row] += part
    return [line.rstrip() for line in lines if line.strip()]
