"""What is done for each device and runtime: a table that is drawn again with all news, lines in a pipe.

A row says what its profile is waiting for, how far it is, or what came of it. A table whose rows are all
finished stays on the terminal as it is; so does one that Ctrl-C or an error ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING

from ponas_deploy.commands.output import progress_line, report_console
from ponas_deploy.commands.screen import Screen
from ponas_deploy.commands.waiting import SECONDS_A_LINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from ponas_deploy.files.notes import Advance, OpenBar
    from ponas_deploy.profiling.progress import OnProgress, ProfilingProgress

_PART = "profiles"
_WIDE = 110
"""From so many columns on there is room for a bar."""
_ECHO = "^C"
"""What a terminal writes behind the last row when Ctrl-C is pressed; it may not need a line of its own."""


@contextmanager
def progress_table(screen: Screen | None = None) -> Iterator[OnProgress]:
    """A row for each profile, from its first news on; lines where nothing can be drawn.

    Several devices may have profiles at the same time, and report from threads of their own. Without a
    `screen` that shows more than these rows they have one of their own.
    """
    own = Screen(report_console(stderr=True)) if screen is None else screen
    if not own.can_draw:
        yield _Lines()
        return
    rows = _Rows(own)
    try:
        yield rows
    finally:
        rows.leave()


def bar_in(on_progress: OnProgress, name: str) -> OpenBar:
    """Opens a row by this name for a piece of work that says only how many steps of how many are done."""
    from ponas_deploy.profiling.progress import DONE, ProfilingProgress

    @contextmanager
    def opened() -> Iterator[Advance]:
        begun, steps = monotonic(), 0

        def advance(done: int, total: int, text: str) -> None:
            nonlocal steps
            steps = total
            on_progress(ProfilingProgress("build", done, total, 0.0, text, runtime=name))

        yield advance
        if steps:
            took_s = monotonic() - begun
            on_progress(ProfilingProgress(DONE, steps, steps, 0.0, "", runtime=name, took_s=took_s))

    return opened


class _Lines:
    """A line of each device now and then, while something is under way."""

    def __init__(self) -> None:
        self._printed: dict[str, float] = {}
        self._one_at_a_time = RLock()

    def __call__(self, progress: ProfilingProgress) -> None:
        if not progress.is_under_way:
            return
        with self._one_at_a_time:
            now = monotonic()
            if now - self._printed.get(progress.device, -SECONDS_A_LINE) >= SECONDS_A_LINE:
                self._printed[progress.device] = now
                of = f"{progress.device}: " if progress.device else ""
                parts = filter(None, (f"{progress.stage}: {progress.text}", progress.left))
                progress_line(f"{of}{', '.join(parts)}")


class _Rows:
    """The last news of each profile, drawn as a table until all are finished."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._rows: dict[tuple[str, str, int], ProfilingProgress] = {}
        self._any_work = False
        self._one_at_a_time = RLock()

    def __call__(self, progress: ProfilingProgress) -> None:
        with self._one_at_a_time:
            self._any_work |= progress.is_under_way
            self._rows[progress.device, progress.runtime, progress.resolution] = progress
            if all(row.is_finished for row in self._rows.values()):
                self.leave()
            else:
                self._screen.show(_PART, self._drawn())

    def leave(self) -> None:
        """Print the table as it is now, where anything was done, above what else is drawn; begin another."""
        with self._one_at_a_time:
            self._screen.hide(_PART)
            if self._any_work:
                self._screen.console.print(self._drawn())
            self._any_work = False
            self._rows.clear()

    def _drawn(self) -> Table:
        return table_of(list(self._rows.values()), self._screen.console.width)


def table_of(rows: Sequence[ProfilingProgress], width: int) -> Table:
    """The table of some profiles in so many columns, where there is room with a bar."""
    from rich.table import Table
    from rich.text import Text

    from ponas_deploy.commands.reports.style import FRAME
    from ponas_deploy.errors import printable

    several_devices = any(row.device for row in rows)
    several_sizes = len({row.resolution for row in rows if row.resolution}) > 1
    columns = width - len(_ECHO)
    drawn = Table(box=FRAME, show_edge=False, pad_edge=False, collapse_padding=True, width=columns)
    if several_devices:
        drawn.add_column("device", no_wrap=True, max_width=width // 4)
    drawn.add_column("runtime", no_wrap=True)
    drawn.add_column("state", ratio=1)
    if width >= _WIDE:
        drawn.add_column("", width=20)
    drawn.add_column("time", no_wrap=True, justify="right")
    for row in rows:
        at = f" at {row.resolution} px" if several_sizes and row.resolution else ""
        cells: list[RenderableType] = [Text(printable(row.device))] if several_devices else []
        cells += [Text(f"{row.runtime}{at}"), _state(row)]
        if width >= _WIDE:
            cells.append(_bar(row))
        drawn.add_row(*cells, Text(f"took {row.took_s:.0f} s" if row.took_s else row.left))
    return drawn


def _state(row: ProfilingProgress) -> Text:
    """What is done now, on one line; what came of a profile, or why nothing did, is told whole."""
    from rich.text import Text

    from ponas_deploy.commands.reports.style import GOOD, WARN
    from ponas_deploy.errors import printable
    from ponas_deploy.profiling.progress import BUILDING, DONE

    text = printable(row.text)
    if row.is_finished:
        named = text if row.stage == DONE and text else f"{row.stage}{text and ': '}{text}"
        return Text(named, style=GOOD if row.stage == DONE else WARN)
    if not row.is_under_way:
        return Text(row.stage)
    if row.stage == "build" and row.total > 1 and f"of {row.total}" not in text:
        text = f"building {row.done} of {row.total}: {text.removeprefix(BUILDING)}"
    return Text(text, no_wrap=True, overflow="ellipsis")


def _bar(row: ProfilingProgress) -> RenderableType:
    from rich.progress_bar import ProgressBar

    from ponas_deploy.commands.reports.style import FAINT, GOOD

    if not row.is_under_way:
        return ""
    return ProgressBar(row.total, row.done, width=20, style=FAINT, complete_style=GOOD, finished_style=GOOD)
