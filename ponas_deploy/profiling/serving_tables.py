"""Which latency tables of the store serve a target.

For this machine a table from the user's store serves while everything it was made with is the same
(`staleness`); a table shipped with the package was measured elsewhere and serves only under its device's own
name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ponas_deploy.errors import PonasError, TableMismatchError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.machines.advice import command_for
from ponas_deploy.machines.names import slug
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.profiling.devices import known_devices
from ponas_deploy.profiling.differences import Difference, in_words
from ponas_deploy.profiling.staleness import differences
from ponas_deploy.profiling.target import Target, refuse_unknown
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.resolutions import at, pixels
from ponas_deploy.tables.spaces import is_sound
from ponas_deploy.tables.store import StoredTable
from searchspace.space import Space
from searchspace.spaces import build_space


def serving(
    target: Target, space: Space, place: Place | None = None, on_note: OnNote = no_note
) -> tuple[StoredTable, ...]:
    """The stored tables of a space that serve a target; UnknownNameError for a device that has none.

    At `place`, where the device is reached, what was made with anything that is different there serves not.
    """
    devices = known_devices()
    tables = devices.get(target.device_name, ())
    fitting = (stored for stored in tables if not mismatch(target, space, stored))
    place = place or (HERE if target.local else None)
    found = tuple(stored for stored in fitting if place is None or _serves_at(place, stored))
    if not found and place is None:
        if not tables and target.board:
            raise PonasError(f"{target.device_name} has no latency table yet, and is not reached now.")
        refuse_unknown(target, devices)
        raise PonasError(
            f"no table of {target.device_name} serves: {mismatch(target, space, tables[0])};"
            f" see `ponas devices`{_with_space(of_other_spaces(target, space))}."
        )
    return measured_first(_newest(found, on_note), on_note)


def _newest(tables: Sequence[StoredTable], on_note: OnNote) -> tuple[StoredTable, ...]:
    """The newest of tables of the same conditions, which are of several power modes; others are named."""
    newest = {_named(stored): stored for stored in sorted(tables, key=lambda one: one.table.created)}
    for stored in tables:
        if (other := newest[_named(stored)]) is not stored:
            mode = other.table.power_mode or "unknown"
            on_note(f"{stored.name} is left out: {other.name}, of power mode {mode}, was made later")
    return tuple(stored for stored in tables if newest[_named(stored)] is stored)


def _named(stored: StoredTable) -> Conditions:
    """The conditions of a table, with the device by the name that it is asked for by."""
    return replace(stored.conditions, device=stored.device)


def measured_first(tables: Sequence[StoredTable], on_note: OnNote = no_note) -> tuple[StoredTable, ...]:
    """The measured tables where there are any, else the estimated ones; that some are left out is said."""
    measured = tuple(stored for stored in tables if not stored.table.estimated)
    if not measured or len(measured) == len(tables):
        return tuple(tables)
    for stored in tables:
        if stored.table.estimated:
            on_note(f"{stored.name} is estimated and left out: {measured[0].name} was measured")
    return measured


def resolutions_of(target: Target, space: Space) -> tuple[int, ...]:
    """The resolutions in pixels that a device has fitting tables of, of a space at any resolution."""
    tables = known_devices().get(target.device_name, ())
    keyed = [(one.table.space, one) for one in tables if one.table.space]
    ours = ((key.resolution, stored) for key, stored in keyed if key.name == space.name)
    return tuple(sorted({px for px, stored in ours if not mismatch(target, at(space, px), stored)}))


def of_other_spaces(target: Target, space: Space) -> tuple[str, ...]:
    """The known spaces whose stored tables would serve a target: for this machine the user's own tables."""
    found = set[str]()
    for stored in known_devices().get(target.device_name, ()):
        key = stored.table.space
        if key is None or key.name == space.name or not is_sound(key) or (target.local and stored.shipped):
            continue
        if not mismatch(target, build_space(key.name, key.resolution, key.classes), stored):
            found.add(key.name)
    return tuple(sorted(found))


def _with_space(names: Sequence[str]) -> str:
    """How the tables of other spaces are named, in words; empty without any."""
    return f", and --space {' or '.join(names)} takes those of that space" if names else ""


def of_conditions(conditions: Conditions) -> tuple[StoredTable, ...]:
    """The user's own tables of this machine in these conditions, of any space, that still serve."""
    named = replace(conditions, device=slug(conditions.device))
    tables = known_devices().get(named.device, ())
    alike = (one for one in tables if _named(one) == named)
    return tuple(stored for stored in alike if _serves_at(HERE, stored))


def outdated(
    target: Target, space: Space, place: Place = HERE
) -> tuple[tuple[StoredTable, tuple[Difference, ...]], ...]:
    """The user's own tables that would serve, were the machine still as it was; with what differs."""
    found = ((stored, differences(stored, place)) for stored in _ours(target, space, place))
    return tuple((stored, differ) for stored, differ in found if differ)


def own_tables(target: Target, space: Space, place: Place = HERE) -> tuple[StoredTable, ...]:
    """The user's own tables of a machine that fit, stale or not; PonasError where there is none."""
    if not (found := _ours(target, space, place)):
        here = "this machine " if target.local else ""
        raise PonasError(
            f"no table of yours is of {here}({target.device_name}) and space {space.name} and fits:"
            f" {command_for('ponas profile', target.device_name)} makes one, `ponas devices` lists those"
            f" there are{_with_space(of_other_spaces(target, space))}."
        )
    return found


def _ours(target: Target, space: Space, place: Place) -> tuple[StoredTable, ...]:
    target = replace(target, int8=True)
    tables = known_devices().get(target.device_name, ())
    ours = (stored for stored in tables if not (stored.shipped or mismatch(target, space, stored)))
    return tuple(stored for stored in ours if _has_runtime(place, stored))


def mismatch(target: Target, space: Space, stored: StoredTable) -> str:
    """Why a table is not one of this target and space, empty when it is."""
    conditions, key = stored.conditions, SpaceKey.of(space)
    found = stored.table.space or key
    for what, asked, made in (
        ("device", target.device_name, stored.device),
        ("space", key.name, found.name),
        ("fingerprint", key.fingerprint, found.fingerprint),
        ("resolution", key.resolution, found.resolution),
        ("classes", key.classes, found.classes),
        ("threads", target.threads, conditions.threads),
        ("batch", target.batch, conditions.batch),
        ("streams", target.streams, conditions.streams),
    ):
        if asked != made:
            return f"{stored.name} is of {what} {made}, not {asked}"
    backends = target.backends if stored.table.estimated else target.used_backends
    for what, wanted, is_of in (
        ("backend", backends, conditions.backend),
        ("precision", target.precisions, conditions.precision),
    ):
        if wanted and is_of not in wanted:
            return f"{stored.name} is of {what} {is_of}, not {' or '.join(wanted)}"
    if not (target.precisions or target.open_precisions([conditions.precision])):
        return f"{stored.name} is of precision {conditions.precision}, which must be named (--precision)"
    return ""


def given(target: Target, spaces: Sequence[Space], named: Sequence[StoredTable]) -> tuple[StoredTable, ...]:
    """Tables that were named, each checked against the target and the space at its resolution.

    TableMismatchError says where one differs, or names a resolution that no table is of.
    """
    target = replace(target, int8=True)
    by_px = {space.resolution: space for space in spaces}
    for stored in named:
        if target.local and stored.table.estimated:
            raise TableMismatchError(
                f"{stored.name} is estimated, and '{target.device}' is this machine:"
                " `ponas profile` measures it."
            )
        key = stored.table.space
        space = by_px.pop(key.resolution, None) if key else None
        space = space or next((one for one in spaces if key and one.resolution == key.resolution), spaces[0])
        if reason := mismatch(target, space, stored):
            raise TableMismatchError(f"{reason}: an engine is not built from another one's latencies.")
    if by_px:
        raise TableMismatchError(f"no latency table that was named is of {pixels(tuple(by_px))}: name one.")
    return tuple(named)


def caveats(target: Target, stored: StoredTable, place: Place | None = None) -> tuple[str, ...]:
    """Warnings about a table that was named although it does not serve at its place, if that is reached."""
    place = place or (HERE if target.local else None)
    if place is None or not _has_runtime(place, stored):
        return ()
    advice = f"its predictions may be off (ponas table recheck {stored.name})."
    if stored.shipped:
        return (f"table {stored.name} came with the package, measured on another machine: {advice}",)
    differ = differences(stored, place)
    return (f"{in_words(stored, differ)}: {advice}",) if differ else ()


def _serves_at(place: Place, stored: StoredTable) -> bool:
    return not stored.shipped and _has_runtime(place, stored) and not differences(stored, place)


def _has_runtime(place: Place, stored: StoredTable) -> bool:
    try:
        place.backend(stored.conditions.backend).environment()
    except PonasError:
        return False
    return True
