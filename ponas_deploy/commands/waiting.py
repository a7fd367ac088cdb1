"""What is shown only when there is something to wait for: a bar, or a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from ponas_deploy.commands.output import note, report_console

if TYPE_CHECKING:
    from ponas_deploy.backends.progress import BuildProgress, OnBuildProgress

PATIENCE_S = 2.0
"""What takes less shows no bar."""
SECONDS_A_LINE = 10.0
"""Where no bar is drawn, a line so often says that it goes on."""

Advance = Callable[[int, int, str], None]
"""Units done, units in total, what is being done."""


def lines_of_a_build() -> OnBuildProgress:
    """Notes now and then how far a runtime is with a model: a bar would be drawn while something is timed."""
    told = monotonic()

    def on_build(build: BuildProgress) -> None:
        nonlocal told
        if monotonic() - told >= SECONDS_A_LINE:
            told = monotonic()
            note(build.text)

    return on_build


@contextmanager
def waiting() -> Iterator[Advance]:
    """A bar on stderr from the third second on; each new text starts it anew."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=report_console(stderr=True), transient=True)
    tasks: dict[str, Any] = {}
    started = monotonic()

    def advance(done: int, total: int, text: str) -> None:
        if text not in tasks:
            for task in tasks.values():
                bars.update(task, visible=False)
            tasks[text] = bars.add_task(text, total=total)
        bars.update(tasks[text], completed=done, total=total)
        if not bars.live.is_started and monotonic() - started > PATIENCE_S:
            bars.start()

    try:
        yield advance
    finally:
        if bars.live.is_started:
            bars.stop()
