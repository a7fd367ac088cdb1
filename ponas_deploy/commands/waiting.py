"""What is shown only when there is something to wait for: a bar, or a line now and then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from time import monotonic
from typing import TYPE_CHECKING, Any

from ponas_deploy.commands.output import plain_column, progress_line, report_console
from ponas_deploy.commands.screen import DRAWN

if TYPE_CHECKING:
    from ponas_deploy.backends.progress import BuildProgress, OnBuildProgress
    from ponas_deploy.files.notes import Advance

SHOWN_AFTER_S = 2.0
"""What takes less shows no bar."""
SECONDS_A_LINE = 10.0
"""Where no bar is drawn, a line so often says that it goes on."""


def lines_of_a_build() -> OnBuildProgress:
    """Notes now and then how far a runtime is with a model: a bar would be drawn while something is timed."""
    printed = monotonic()

    def on_build(build: BuildProgress) -> None:
        nonlocal printed
        if monotonic() - printed >= SECONDS_A_LINE:
            printed = monotonic()
            progress_line(build.text)

    return on_build


@contextmanager
def waiting() -> Iterator[Advance]:
    """A bar on stderr from the third second on, whether or not it moves; each new text starts it again.

    Nothing where stderr is no terminal, or another bar is drawn already.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (plain_column("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = report_console(stderr=True)
    bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    tasks: dict[str, Any] = {}

    def show() -> None:
        if not bars.disable and DRAWN.acquire(blocking=False):
            bars.start()

    shown = Timer(SHOWN_AFTER_S, show)
    shown.daemon = True
    shown.start()

    def advance(done: int, total: int, text: str) -> None:
        if text not in tasks:
            for task in tasks.values():
                bars.update(task, visible=False)
            tasks[text] = bars.add_task(text, total=total)
        bars.update(tasks[text], completed=done, total=total)

    try:
        yield advance
    finally:
        shown.cancel()
        shown.join()
        if bars.live.is_started:
            bars.stop()
            DRAWN.release()
