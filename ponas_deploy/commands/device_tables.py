"""The tables that `--device` names, for commands that measure nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ponas_deploy.commands.options import refuse_threads
from ponas_deploy.commands.output import note

if TYPE_CHECKING:
    from ponas_deploy.commands.quantities import Resolutions


def files_of_devices(
    devices: list[str],
    files: list[str],
    space: str | None,
    resolution: Resolutions | None,
    classes: int | None,
    how: tuple[list[str] | None, list[str] | None, int, int],
) -> list[str]:
    """The files of the tables of devices, in the space that is named or that a table is of."""
    from ponas_deploy.profiling.of_devices import tables_of_devices
    from ponas_deploy.profiling.target import Target
    from ponas_deploy.tables import store
    from ponas_deploy.tables.chosen_space import chosen_space
    from searchspace import build_space

    chosen = chosen_space(space, None, [store.latency_table(name).table for name in files])
    note(f"search space {chosen.text}")
    backend, precision, threads, batch = how
    for one in devices:
        refuse_threads(threads, one)
    targets = [Target(one, backend or (), precision or (), threads, batch) for one in devices]
    sizes = {"classes": classes} if classes else {}
    sides = (resolution.px or None) if resolution else ()
    return [
        str(stored.path)
        for stored in tables_of_devices(targets, build_space(chosen.name, **sizes), sides, note)
    ]
