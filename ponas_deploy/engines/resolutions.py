"""Which resolutions a search goes over: those asked for or those that make sense; what counts at each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ponas_deploy.engines.mixed import source_for
from ponas_deploy.engines.task import AtResolution
from ponas_deploy.engines.weights import Carried
from ponas_deploy.errors import PonasError
from ponas_deploy.files.notes import OnNote
from ponas_deploy.profiling.serving_tables import resolutions_of
from ponas_deploy.profiling.target import Target
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.notation import Limit
from ponas_deploy.search.sides import Side, budget_over
from ponas_deploy.tables.resolutions import AUTO, at_resolutions, pixels, resolution_warnings, spaces_at
from ponas_deploy.tables.store import StoredAccuracy, StoredTable
from searchspace.mixed import plain_name
from searchspace.space import Space
from searchspace.spaces import ELASTIC_PX, USUAL_PX


def searched_spaces(
    space: Space,
    asked: Sequence[int] | str | None,
    carried: Carried,
    accuracies: Sequence[StoredAccuracy],
    target: Target,
    named: Sequence[StoredTable],
    on_note: OnNote,
) -> tuple[Space, ...]:
    """The space at each resolution that is searched: several, AUTO, or where nothing is `asked` its own.

    Tables that were `named` of several resolutions ask for these. Weights that were trained at one resolution
    leave that alone, which is said. AUTO are the resolutions of the tables that were `named`, those that a
    device elsewhere has tables of, or the usual ones of a space whose supernet serves several, as far as the
    accuracy tables know what is lost there. PonasError for resolutions that the weights, the space or nobody
    allows.
    """
    if not asked:
        found = sorted({one.table.space.resolution for one in named if one.table.space})
        return spaces_at(space, found) if len(found) > 1 else (space,)
    if isinstance(asked, str) and asked != AUTO:
        raise PonasError(f"'{asked}' is no resolution: name pixels, or {AUTO}.")
    wanted = _sensible(space, accuracies, target, named, on_note) if isinstance(asked, str) else tuple(asked)
    if carried.resolution is not None and wanted != (carried.resolution,):
        if carried.resolution not in wanted and not isinstance(asked, str):
            raise PonasError(
                f"the weights are for {carried.resolution} px alone, and {pixels(wanted)} were asked for:"
                f" leave out --resolution, or name a supernet for several."
            )
        on_note(f"the weights are for {carried.resolution} px: no other resolution is searched")
        wanted = (carried.resolution,)
    return spaces_at(space, wanted)


def _sensible(
    space: Space,
    accuracies: Sequence[StoredAccuracy],
    target: Target,
    named: Sequence[StoredTable],
    on_note: OnNote,
) -> tuple[int, ...]:
    found = {one.table.space.resolution for one in named if one.table.space}
    if not found and not target.local:
        found = set(resolutions_of(target, space))
    known_px = ELASTIC_PX.get(plain_name(space.name))
    if not found and known_px:
        found = {px for px in USUAL_PX if px in known_px and _is_known(px, accuracies)}
    if not found:
        on_note(f"{space.resolution} px is the only resolution of space '{space.name}' that is searched")
        return (space.resolution,)
    on_note(f"resolutions that are searched: {pixels(sorted(found))}")
    return tuple(sorted(found))


def _is_known(resolution: int, accuracies: Sequence[StoredAccuracy]) -> bool:
    """Whether an accuracy table says what networks lose at a resolution in pixels."""
    tables = [one.table for one in accuracies]
    if any(table.measured_px == resolution for table in tables):
        return True
    return len(tables) == 1 and tables[0].brought_to(resolution).resolution == resolution


def at_each(
    spaces: Sequence[Space], accuracies: Sequence[StoredAccuracy], carried: Carried
) -> tuple[AtResolution, ...]:
    """What counts at the resolution of each space; TableMismatchError as of `at_resolutions`."""
    counted = at_resolutions([one.table for one in accuracies], [one.resolution for one in spaces])
    return tuple(
        AtResolution(
            space,
            replace(accuracies[place], table=table),
            source_for(space, carried.source(space.resolution)),
        )
        for space, (place, table) in zip(spaces, counted, strict=True)
    )


def sides_at(tables: Sequence[StoredTable], each: Sequence[AtResolution]) -> list[Side]:
    """Latency tables, each with what counts at its resolution; the first where it does not say its own."""
    by_px = {one.space.resolution: one for one in each}
    found = [
        (stored.table, by_px[stored.table.space.resolution] if stored.table.space else each[0])
        for stored in tables
    ]
    return [Side(table, one.accuracy.table, one.space) for table, one in found]


def budget_of(
    given: Mapping[str, Limit],
    tables: Sequence[StoredTable],
    each: Sequence[AtResolution],
    relative_to: Sequence[StoredTable] = (),
) -> Budget:
    """The budget of limits over tables of several resolutions; see `budget_over`.

    A percentage is of what helps by the tables that it is `relative_to`, of all where there are none.
    """
    sides = sides_at(tables, each)
    kept = [
        side for side, one in zip(sides, tables, strict=True) if any(one is other for other in relative_to)
    ]
    return budget_over(given, sides, kept or None)


def warnings_of(each: Sequence[AtResolution]) -> tuple[str, ...]:
    """What is to be said of the resolutions that an accuracy table was not measured at."""
    found = [one.space.resolution for one in each]
    said = (text for one in each for text in resolution_warnings(one.accuracy.table, found))
    return tuple(dict.fromkeys(said))
