"""What is drawn again and again while work goes on, and the tries of a search: rows, or lines in a pipe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from ponas_deploy.commands.progress_table import progress_table
from ponas_deploy.commands.screen import DRAWN, Screen
from ponas_deploy.commands.tries import tries_on
from ponas_deploy.engines.attempt import Attempt
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.profiling.progress import DONE, ProfilingProgress, at_stage
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.specialize import Specialization
from searchspace.space import Space
from stored_tables import stored


@pytest.fixture
def shown() -> StringIO:
    return StringIO()


@pytest.fixture
def screen(shown: StringIO) -> Iterator[Screen]:
    found = Screen(Console(file=shown, force_terminal=True, width=80, color_system=None))
    yield found
    found.clear()
    assert DRAWN.acquire(blocking=False), "somebody still holds the screen"
    DRAWN.release()


def an_attempt(tiny: Space, device: str, number: int, ms: float | None = None) -> Attempt:
    choice = Specialization(
        method="exact",
        optimal=True,
        budget=Budget(latency_ms=3.0),
        choices=tuple(layer.labels[0] for layer in tiny.layers),
        predicted_ms=2.4,
        predicted_loss_pp=1.0,
        gap_pp=0.0,
    )
    timing = None if ms is None else EngineTiming(((round(ms * 1e6),) * 20,) * 3)
    return Attempt(number, stored(tiny, device), choice, 2.5, timing=timing)


def test_parts_stand_below_each_other_until_the_last_is_hidden(screen: Screen, shown: StringIO) -> None:
    screen.show("a", Text("first part"))
    screen.show("b", Text("second part"))
    assert "first part" in shown.getvalue()
    shown.truncate(0)
    screen.hide("a")
    assert "second part" in shown.getvalue()
    assert "first part" not in shown.getvalue()
    screen.hide("b")
    screen.hide("b")
    assert not DRAWN.locked()


def test_what_somebody_else_draws_is_not_drawn_over(screen: Screen, shown: StringIO) -> None:
    with DRAWN:
        screen.show("a", Text("first part"))
        assert shown.getvalue() == ""
    screen.show("a", Text("first part"))
    assert "first part" in shown.getvalue()


def test_tries_are_rows_of_a_table_that_grows(tiny: Space, screen: Screen, shown: StringIO) -> None:
    report = tries_on(screen, of_several=False)
    report(an_attempt(tiny, "lab", 1))
    assert "2.500 ms" in shown.getvalue()
    assert "building and timing ..." in shown.getvalue()
    report(an_attempt(tiny, "lab", 1, ms=3.25))
    report(an_attempt(tiny, "lab", 2, ms=2.75))
    assert not DRAWN.locked(), "nothing is drawn between two tries"
    plain = re.sub(r"\x1b\[[?\d]*[A-Za-z]", "", shown.getvalue()).replace("\r", "\n")
    rows = [" ".join(row.split()) for row in plain.splitlines() if "budget" in row or "expected" in row]
    assert rows == [
        "try runtime expected measured p50",
        "1 onnxruntime fp32 at 32 px 2.500 ms 3.250 ms over the budget",
        "2 onnxruntime fp32 at 32 px 2.500 ms 2.750 ms meets the budget",
    ]


def test_each_device_has_a_line_for_what_it_tries_and_profiles_stand_beside(
    tiny: Space, screen: Screen, shown: StringIO
) -> None:
    report = tries_on(screen, of_several=True)
    with progress_table(screen) as on_progress:
        report(an_attempt(tiny, "jetson", 1))
        report(an_attempt(tiny, "pi", 4))
        shown.truncate(0)
        on_progress(ProfilingProgress("measure", 3, 9, 60.0, "round 3", device="box"))
        drawn = shown.getvalue()
        for part in ("jetson", "pi", "box", "round 3", "60 s left"):
            assert part in drawn
        on_progress(replace(at_stage(DONE), device="box"))
        report(an_attempt(tiny, "pi", 4, ms=2.0))
        assert DRAWN.locked(), "jetson is still at work"


def test_a_pipe_has_lines_and_nothing_that_is_drawn(tiny: Space, capsys: pytest.CaptureFixture[str]) -> None:
    file = StringIO()
    screen = Screen(Console(file=file, force_terminal=False, width=80))
    report = tries_on(screen, of_several=True)
    report(an_attempt(tiny, "lab", 1))
    report(an_attempt(tiny, "lab", 1, ms=2.75))
    assert file.getvalue() == ""
    assert capsys.readouterr().err.splitlines() == [
        "lab: try 1: onnxruntime fp32 at 32 px, expected 2.500 ms; building and timing ...",
        "lab: try 1: measured p50 2.750 ms, meets the budget",
    ]
