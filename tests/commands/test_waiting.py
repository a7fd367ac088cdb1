"""A bar is there from the third second on, and only then."""

from __future__ import annotations

from io import StringIO
from time import sleep

import pytest
from rich.console import Console

from ponas_deploy.commands import waiting


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
