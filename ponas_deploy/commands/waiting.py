"""What is shown only when there is something to wait for: a bar, or a line now and then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from time import monotonic
from typing import TYPE_CHECKING, Any

from ponas_deploy.commands.output import plain_column, progress_line, report_console
from ponas_deploy.commands.screen import DRAWN, Screen

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from ponas_deploy.backends.progress import BuildProgress, OnBuildProgress
    from ponas_deploy.files.notes import Advance
    from ponas_deploy.profiling.progress import OnProgress, ProfilingProgress

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
def profile_bar(screen: Screen | None = None) -> Iterator[OnProgress]:
    """A bar for each profile, from its first news to its last; lines where there is no terminal.

    Several devices may have profiles at the same time, and report from threads of their own. Without a
    `screen` that shows more than these bars they have one of their own.
    """
    from ponas_deploy.errors import printable

    own = Screen(report_console(stderr=True)) if screen is None else screen
    one_at_a_time = Lock()
    bars: Bars | None = None
    tasks: dict[str, TaskID] = {}
    printed: dict[str, float] = {}

    def print_line(progress: ProfilingProgress) -> None:
        now = monotonic()
        if now - printed.get(progress.device, -SECONDS_A_LINE) >= SECONDS_A_LINE:
            printed[progress.device] = now
            of = f"{progress.device}: " if progress.device else ""
            parts = filter(None, (f"{progress.stage}: {progress.text}", progress.left))
            progress_line(f"{of}{', '.join(parts)}")

    def draw(progress: ProfilingProgress) -> None:
        nonlocal bars
        if bars is None:
            bars = _profile_bars(own.console)
        if progress.device not in tasks:
            name = f"{progress.device} " if progress.device else ""
            tasks[progress.device] = bars.add_task("", device=name, stage="", left="")
        bars.update(
            tasks[progress.device],
            completed=progress.done,
            total=progress.total,
            description=printable(progress.text),
            stage=progress.stage,
            left=progress.left,
        )
        own.show("profiles", bars.get_renderable())

    def finish(device: str) -> None:
        if bars and device in tasks:
            bars.remove_task(tasks.pop(device))
            if tasks:
                own.show("profiles", bars.get_renderable())
            else:
                own.hide("profiles")

    def on_progress(progress: ProfilingProgress) -> None:
        with one_at_a_time:
            if progress.is_finished:
                finish(progress.device)
            elif own.console.is_terminal:
                draw(progress)
            else:
                print_line(progress)

    try:
        yield on_progress
    finally:
        own.hide("profiles")


def _profile_bars(console: Any) -> Bars:
    from rich.progress import BarColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    # Numbers are whole in any width: of a long text the end is left out, and the bar is short.
    whole = Column(no_wrap=True)
    rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns = (
        plain_column("{task.fields[device]}{task.fields[stage]:8}", table_column=whole),
        BarColumn(bar_width=20),
        plain_column("{task.percentage:>3.0f} %", table_column=whole),
        plain_column("{task.fields[left]}", table_column=whole),
        plain_column("{task.description}", style="dim", table_column=rest),
    )
    return Bars(*columns, console=console, expand=True, auto_refresh=False)


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
