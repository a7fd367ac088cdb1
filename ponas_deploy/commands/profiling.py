"""Profiling with a progress bar: what `ponas profile` and `ponas specialize` share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from ponas_deploy.commands.output import note, report_console
from ponas_deploy.commands.waiting import SECONDS_A_LINE, lines_of_a_build

# A profile that took so many times what it was given, and what starting takes, was too slow for its time.
_OVERTIME, _STARTING_S = 1.1, 3.0

if TYPE_CHECKING:
    from ponas_deploy.profiling.inventory import Target
    from ponas_deploy.profiling.progress import OnProgress, Progress
    from ponas_deploy.tables import Conditions
    from ponas_deploy.tables.store import StoredTable
    from searchspace.space import Space


def tables_for(target: Target, time_budget_s: float) -> tuple[StoredTable, ...]:
    """The tables that serve a wish; those of this machine that are missing and worth it are made first.

    What was made with another runtime, driver, power mode, ... is named and made again. All of them
    together take about `time_budget_s`, unless the machine is too slow for a single one.
    """
    from ponas_deploy.profiling.inventory import missing, outdated, serving
    from ponas_deploy.profiling.staleness import in_words

    tables = serving(target)
    wanted = missing(target, tables, every_precision=True)
    if not wanted:
        return tables
    for stale, differ in outdated(target):
        note(f"{in_words(stale, differ)}: profiled again")
    deadline = monotonic() + time_budget_s
    made: list[StoredTable] = []
    worth = _worth_profiling(wanted, tables, target.space, time_budget_s)
    for place, conditions in enumerate(worth):
        left_s = max(deadline - monotonic(), 0.0)
        made.append(profile_with_bar(conditions, target.space, left_s / (len(worth) - place), overwrite=True))
    return (*tables, *made)


def _worth_profiling(
    wanted: Sequence[Conditions], tables: Sequence[StoredTable], space: Space, time_s: float
) -> tuple[Conditions, ...]:
    """Which of several runtimes to profile, after a trial of each; the others are named with the reason."""
    if len(wanted) == 1 and not tables:
        return tuple(wanted)
    from ponas_deploy.profiling.trial import middle, select, trial

    trials = []
    for conditions in wanted:
        note(f"trying {conditions.text} ...")
        trials.append(trial(conditions, space, on_build=lines_of_a_build()))
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
    accuracy: Path | None = None,
    prior: Path | None = None,
    networks: int | None = None,
    seed: int = 0,
) -> StoredTable:
    """Profile this machine and store the table, showing how far it is.

    `accuracy` and `prior` are tables in files, `networks` how many are timed to fit the prior on.
    """
    from ponas_deploy.profiling.inventory import make_table

    origin = f" from {prior}" if prior else ""
    note(
        f"profiling {conditions.text}, at {space.resolution} px{origin}, for at most about"
        f" {time_budget_s:.0f} s"
    )
    started = monotonic()
    with progress_bar() as on_progress:
        made = make_table(
            conditions,
            space,
            time_budget_s=time_budget_s,
            path=path,
            overwrite=overwrite,
            further=further,
            accuracy=accuracy or accuracy_of(space),
            prior=prior,
            networks=networks,
            on_progress=on_progress,
            seed=seed,
        )
    took_s = monotonic() - started
    if took_s > _OVERTIME * time_budget_s + _STARTING_S:
        note(f"it took {took_s:.0f} s: fewer rounds and networks than these make no certified table")
    return made


def accuracy_of(space: Space, name: str | None = None) -> Path | None:
    """The accuracy table that was named, or the space's own where it has one."""
    from ponas_deploy.errors import UnknownNameError
    from ponas_deploy.tables import store

    try:
        return store.find_table(name or f"accuracy/{space.name}")
    except UnknownNameError:
        if name:
            raise
        return None


def to_go_on(path: Path, *, from_prior: bool) -> tuple[StoredTable | None, bool]:
    """The table at `path` where it is kept as it is, and whether to add to the one that is there."""
    from ponas_deploy.tables import load_latency_table
    from ponas_deploy.tables.store import StoredTable

    if not path.exists():
        return None, False
    found = StoredTable(path, load_latency_table(path))
    said = dict(found.table.protocol)
    if said.get("stopped_by") != "time":
        why = "has all its rounds"
    elif from_prior and "prior" not in said:
        why = "has its own blocks, which no prior betters,"
    elif "prior" in said and not from_prior:
        why = f"was made from the prior {said['prior']}"
    else:
        return None, True
    note(f"{path} {why} and is kept (--force measures it anew)")
    return found, False


@contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """A bar that is drawn only when something is heard of, or lines where there is no terminal."""
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
        told = -SECONDS_A_LINE

        def on_progress(progress: Progress) -> None:
            nonlocal told
            if not console.is_terminal and monotonic() - told >= SECONDS_A_LINE:
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
