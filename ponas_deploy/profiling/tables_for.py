"""The latency tables of a target: those that serve it, and those it lacks, made where that is worth it.

A target may leave several runtimes and precisions open; each is a table of its own. All of them together
share the time that is given, and a trial of each says which of them are worth their part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic

from ponas_deploy.backends import OnBuildProgress, registry
from ponas_deploy.boards.link import BoardError
from ponas_deploy.errors import MeasurementError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.measuring.interference import disturbed_now
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.profiling.differences import in_words
from ponas_deploy.profiling.making import missing
from ponas_deploy.profiling.overtime import overtime_note
from ponas_deploy.profiling.places import known_at
from ponas_deploy.profiling.progress import LEFT_OUT, TRYING, WAITING, OnProgress, at_stage, of_runtime
from ponas_deploy.profiling.serving_tables import of_other_spaces, outdated, serving
from ponas_deploy.profiling.tables import profile_stored
from ponas_deploy.profiling.target import Target
from ponas_deploy.profiling.trial import middle, select, trial
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.quality import made_while_busy
from ponas_deploy.tables.store import StoredTable
from searchspace.space import Space


def tables_over(
    target: Target,
    spaces: Sequence[Space],
    time_budget_s: float,
    *,
    on_note: OnNote = no_note,
    on_progress: OnProgress | None = None,
    on_build: OnBuildProgress | None = None,
    place: Place | None = None,
) -> tuple[StoredTable, ...]:
    """`tables_for` of a space at each of several resolutions; those that lack a table share the time."""
    if len(spaces) == 1:
        lacking = 1
    else:
        known = known_at(place, target) if place else None
        wanted = [
            missing(target, serving(target, space, place), every_precision=True, known=known)
            for space in spaces
        ]
        for space, each in zip(spaces, wanted, strict=True):
            for conditions in each:
                of_runtime(conditions, space.resolution, on_progress)(at_stage(WAITING))
        lacking = sum(map(bool, wanted))
    share_s = time_budget_s / max(lacking, 1)
    return tuple(
        stored
        for space in spaces
        for stored in tables_for(
            target, space, share_s, on_note=on_note, on_progress=on_progress, on_build=on_build, place=place
        )
    )


def tables_for(
    target: Target,
    space: Space,
    time_budget_s: float,
    *,
    on_note: OnNote = no_note,
    on_progress: OnProgress | None = None,
    on_build: OnBuildProgress | None = None,
    place: Place | None = None,
) -> tuple[StoredTable, ...]:
    """The tables that serve a target; those of its place that are missing and worth it are made first.

    The place is this machine where that is the target, and None for a device that is not reached. What was
    made with another runtime, driver, power mode, ... is named and made again, and so is what was made while
    the machine was busy, where it is not busy now. All of them together take about `time_budget_s`, unless
    the machine is too slow for a single one. Tables of runtimes that make no engines serve only for a device
    that is not reached.
    """
    place = place or (HERE if target.local else None)
    served = tuple(
        stored
        for stored in serving(target, space, place, on_note)
        if place is None or registry.makes_engines(stored.conditions.backend)
    )
    again = _to_make_again(served, local=target.local, on_note=on_note)
    tables = tuple(stored for stored in served if all(stored is not one for one in again))
    known = known_at(place, target) if place else None
    wanted = missing(target, tables, every_precision=True, known=known)
    if not wanted or place is None:
        return tables
    if not tables and (others := of_other_spaces(target, space)):
        names = " or ".join(others)
        on_note(f"your tables of this machine are of another space: --space {names} takes them")
    for stale, differ in outdated(target, space, place):
        if stale.conditions in wanted:
            on_note(f"{in_words(stale, differ)}: profiled again")
    deadline = monotonic() + time_budget_s
    made: list[StoredTable] = []
    reports = {one: of_runtime(one, space.resolution, on_progress) for one in wanted}
    for report in reports.values():
        report(at_stage(WAITING))
    worth = _worth_profiling(reports, tables, space, time_budget_s, on_note, on_build, place)
    for number, conditions in enumerate(worth):
        share_s = max(deadline - monotonic(), 0.0) / (len(worth) - number)
        try:
            made.append(
                profile_stored(
                    conditions,
                    space,
                    share_s,
                    overwrite=True,
                    on_note=on_note,
                    on_progress=on_progress,
                    place=place,
                )
            )
        except MeasurementError as error:
            if isinstance(error, BoardError) or (not made and not served):
                raise
            on_note(f"{conditions.backend} {conditions.precision} is left out: {error}")
    remade = {stored.conditions for stored in made}
    return (*tables, *(stored for stored in again if stored.conditions not in remade), *made)


def _to_make_again(tables: Sequence[StoredTable], *, local: bool, on_note: OnNote) -> tuple[StoredTable, ...]:
    """Those that were made while the machine was busy, where nothing disturbs now; what is so is said."""
    said = [(stored, text) for stored in tables if (text := made_while_busy(stored.name, stored.table))]
    now = disturbed_now() if said and local else ""
    for stored, text in said:
        if not local:
            on_note(f"{text}: its predictions may be off.")
        elif now:
            on_note(
                f"{text}. It is used as it is, for the machine is busy now too ({now}): `{_made_by(stored)}"
                " --force` makes it again when that is over."
            )
        else:
            on_note(f"{text}. The machine is quiet now: it is made again.")
    return tuple(stored for stored, _ in said) if local and not now else ()


def _made_by(stored: StoredTable) -> str:
    """The command that makes a table of this machine."""
    conditions, space = stored.conditions, stored.table.space
    options = {
        "--backend": conditions.backend,
        "--precision": conditions.precision,
        **({"--threads": conditions.threads} if conditions.threads > 1 else {}),
        **({"--batch": conditions.batch} if conditions.batch > 1 else {}),
        **({"--streams": conditions.streams} if conditions.streams > 1 else {}),
    }
    if space:
        options |= {"--space": space.name, "--resolution": space.resolution, "--classes": space.classes}
    return " ".join(("ponas profile", *(f"{name} {value}" for name, value in options.items())))


def _worth_profiling(
    wanted: Mapping[Conditions, OnProgress],
    tables: Sequence[StoredTable],
    space: Space,
    time_s: float,
    on_note: OnNote,
    on_build: OnBuildProgress | None,
    place: Place,
) -> tuple[Conditions, ...]:
    """Which of several runtimes to profile, after a trial of each; the others are named with the reason.

    `wanted` are they, each with what reports of it.
    """
    if len(wanted) == 1 and not tables:
        return tuple(wanted)
    trials = []
    for conditions, report in wanted.items():
        on_note(f"trying {conditions.text} ...")
        report(at_stage(TRYING))
        trials.append(trial(conditions, space, on_build=on_build, place=place))
    choices = middle(space).choices
    known_ms = min((stored.table.predict_ms(choices) for stored in tables), default=None)
    selection = select(trials, time_s, known_ms=known_ms)
    for chosen in selection.chosen:
        if said := overtime_note(chosen.least_s, time_s):
            on_note(f"{chosen.conditions.text}: {said}")
    for aside, reason in selection.set_aside:
        name = aside.conditions
        wanted[name](at_stage(LEFT_OUT, reason))
        on_note(
            f"{name.backend} {name.precision} is left out: {reason}"
            f" (ponas profile --backend {name.backend} --precision {name.precision} measures it)"
        )
    return tuple(chosen.conditions for chosen in selection.chosen)
