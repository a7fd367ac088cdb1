"""The latency tables that devices have already: nothing is measured for them."""

from __future__ import annotations

from collections.abc import Sequence

from ponas_deploy.errors import PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.profiling.serving_tables import measured_first, resolutions_of, serving
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.resolutions import at
from ponas_deploy.tables.store import StoredTable
from searchspace.space import Space


def tables_of_devices(
    targets: Sequence[Target], space: Space, resolutions: Sequence[int] | None = (), on_note: OnNote = no_note
) -> tuple[StoredTable, ...]:
    """Every stored table of a space that serves one of the targets, in their order.

    At the `resolutions` in pixels, those that a device has where it is None, and the space's own without any.
    Estimated tables are left out beside measured ones of a device. UnknownNameError for a device without a
    table, PonasError for one without a table that serves.
    """
    found = list[StoredTable]()
    for target in targets:
        sides = resolutions_of(target, space) if resolutions is None else resolutions
        spaces = [at(space, px) for px in sides] or [space]
        own = [stored for one in spaces for stored in serving(target, one, on_note=on_note)]
        if not own:
            raise PonasError(
                f"no table of '{target.device}' serves space {space.name} at {spaces[0].resolution} px:"
                f" `ponas profile --device {target.device} {SpaceKey.of(spaces[0]).options}` makes one."
            )
        found += [stored for stored in measured_first(own, on_note) if stored not in found]
    return tuple(found)
