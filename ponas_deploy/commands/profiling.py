"""Profiling with a progress bar: what `ponas profile` and `ponas specialize` share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """The tables that serve a wish; those of this machine that are missing and worth it are made first.

    What was made with another runtime, driver, power mode, ... is named and made again. All of them
    together take about `time_budget_s`, unless the machine is too slow for a single one.
    """
    from ponas_deploy.inventory import missing, outdated, serving
    from ponas_deploy.staleness import in_words

    tables = serving(wish)
    wanted = missing(wish, tables, every_precision=True)
    if not wanted:
        return tables
    for stale, differ in outdated(wish):
        note(f"{in_words(stale, differ)}: profiled again")
    deadline = monotonic() + time_budget_s
    made: list[StoredTable] = []
    worth = _worth_profiling(wanted, tables, wish.space, time_budget_s)
    for place, conditions in enumerate(worth):
        left_s = max(deadline - monotonic(), 0.0)
        made.append(profile_with_bar(conditions, wish.space, left_s / (len(worth) - place), overwrite=True))
    return (*tables, *made)


def _worth_profiling(
    wanted: Sequence[Conditions], tables: Sequence[StoredTable], space: Space, time_s: float
) -> tuple[Conditions, ...]:
    """Which of several runtimes to profile, after a trial of each; the others are named with the reason."""
    if len(wanted) == 1 and not tables:
        return tuple(wanted)
    from ponas_deploy.trial import middle, select, trial

    trials = []
    for conditions in wanted:
        note(f"trying {conditions.text} ...")
        trials.append(trial(conditions, space))
    choices = middle(space).choices
    known_ms = min((stored.table.predict_ms(choices) for stored in tables), default=None)
    selection = select(trials, time_s, known_ms=known_ms)
    for aside, reason in selection.set_aside:
        name = aside.conditions
        note(
            f"{name.backend} {name.precision} is left out: {reason}"
            f" (ponas profile --backend {name.backend} --precision {name.precision} measures it)"
        )
    return tuple(chosen.conditions for chosen in selection.chosen)


def profile_with_bar(
    conditions: Conditions,
    space: Space,
    time_budget_s: float,
    *,
    path: Path | None = None,
    overwrite: bool = False,
    further: bool = False,
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
            further=further,
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
