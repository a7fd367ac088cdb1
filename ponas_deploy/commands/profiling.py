"""Profiling with a progress bar: what `ponas profile` and `ponas specialize` share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from ponas_deploy.commands.output import note, report_console

# Where no bar can be drawn, a line so often says that it goes on.
_SECONDS_A_LINE = 10.0

if TYPE_CHECKING:
    from ponas_deploy.inventory import Wish
    from ponas_deploy.profile import OnProgress, Progress
    from ponas_deploy.store import StoredTable
    from ponas_deploy.tables import Conditions
    from searchspace.space import Space


def tables_for(wish: Wish, time_budget_s: float) -> tuple[StoredTable, ...]:
    """The tables that serve a wish; those of this machine that are missing are made first."""
    from ponas_deploy.inventory import missing, serving

    tables = serving(wish)
    made = [
        profile_with_bar(conditions, wish.space, time_budget_s, overwrite=True)
        for conditions in missing(wish, tables, every_precision=True)
    ]
    return (*tables, *made)


def profile_with_bar(
    conditions: Conditions,
    space: Space,
    time_budget_s: float,
    *,
    path: Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
) -> StoredTable:
    """Profile this machine and store the table, showing how far it is."""
    from ponas_deploy.inventory import make_table

    note(f"profiling {conditions.text}, at {space.resolution} px, for at most about {time_budget_s:.0f} s")
    with _bar() as on_progress:
        return make_table(
            conditions,
            space,
            time_budget_s=time_budget_s,
            path=path,
            overwrite=overwrite,
            on_progress=on_progress,
            seed=seed,
        )


@contextmanager
def _bar() -> Iterator[OnProgress]:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    console = report_console(stderr=True)
    columns = (
        TextColumn("{task.fields[stage]:8}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.description}", style="dim"),
    )
    # Drawn from the callback alone: a thread that draws would run into what is being timed.
    with Bars(*columns, console=console, transient=True, auto_refresh=False) as bars:
        task = bars.add_task("", stage="", left="")
        told = -_SECONDS_A_LINE

        def on_progress(progress: Progress) -> None:
            nonlocal told
            if not console.is_terminal and monotonic() - told >= _SECONDS_A_LINE:
                told = monotonic()
                note(f"{progress.stage}: {progress.text}, {progress.seconds_left:.0f} s left")
            bars.update(
                task,
                completed=progress.done,
                total=progress.total,
                description=progress.text,
                stage=progress.stage,
                left=f"{progress.seconds_left:3.0f} s left",
                refresh=True,
            )

        yield on_progress
