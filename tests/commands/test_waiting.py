"""A bar is there from the third second on, and only then."""

from __future__ import annotations

from io import StringIO
from time import sleep

import pytest
from rich.console import Console

from ponas_deploy.commands import waiting
from ponas_deploy.commands.train.bars import training_bars
from train.progress import TrainingProgress


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    found = StringIO()
    console = Console(file=found, force_terminal=True, width=80)
    monkeypatch.setattr(waiting, "report_console", lambda stderr: console)
    monkeypatch.setattr(waiting, "SHOWN_AFTER_S", 0.2)
    return found


def test_what_is_quick_shows_nothing(screen: StringIO) -> None:
    with waiting.waiting() as advance:
        advance(0, 3, "held-out rows")
    assert screen.getvalue() == ""


def test_a_bar_does_not_wait_for_the_first_step_to_end(screen: StringIO) -> None:
    with waiting.waiting() as advance:
        advance(0, 3, "held-out rows")
        sleep(0.6)
        assert "held-out rows" in screen.getvalue()


def test_a_file_gets_nothing_of_a_bar(screen: StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the line that ends it."""
    console = Console(file=screen, force_terminal=False, width=80)
    monkeypatch.setattr(waiting, "report_console", lambda stderr: console)
    with waiting.waiting() as advance:
        advance(0, 3, "held-out rows")
        sleep(0.6)
    assert screen.getvalue() == ""


def test_names_of_files_are_neither_markup_nor_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with training_bars() as on_progress:
        on_progress(TrainingProgress("data", 1, 1, "skipped [/red]/\x1b[2J.jpg: broken", note=True))
    shown = capsys.readouterr().err
    assert "skipped [/red]/\\x1b[2J.jpg: broken\n" in shown
    assert "\x1b[2J" not in shown


def test_a_bar_inside_another_is_not_drawn_over_it(screen: StringIO) -> None:
    with waiting.waiting() as advance:
        advance(0, 3, "images")
        sleep(0.4)
        with waiting.waiting() as inner:
            inner(0, 3, "sending")
            sleep(0.4)
    assert "images" in screen.getvalue()
    assert "sending" not in screen.getvalue()
    with waiting.waiting() as advance:
        advance(0, 3, "afterwards")
        sleep(0.4)
    assert "afterwards" in screen.getvalue()
