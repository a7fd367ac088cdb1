"""Estimated tables in the store, of devices that nobody has at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ponas_deploy.errors import PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.fitting.board_figures import BoardFigures, find_figures
from ponas_deploy.fitting.estimate import (
    Scale,
    estimated_conditions,
    estimated_table,
    scale_by_networks,
    scale_by_table,
)
from ponas_deploy.profiling.devices import known_devices
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables import store
from ponas_deploy.tables.csv_import import read_lines
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.networks_csv import read_networks
from ponas_deploy.tables.store import StoredTable
from searchspace.space import Space


def estimate_tables(
    target: Target,
    spaces: Sequence[Space],
    board: str,
    *,
    scale_by: str | None = None,
    out: Path | None = None,
    on_note: OnNote = no_note,
) -> tuple[StoredTable, ...]:
    """Estimate the tables of a device by the published figures of a board, and store them, over older ones.

    One for each space and each precision of the target (the board's usual one where none is named), in the
    folder `out` or the user's store. `scale_by` is a latency table, or a CSV of networks measured in these
    conditions; without it a measured table of the device scales them where the store has one.

    Raises PonasError for this machine, which can be measured, and for a target that names a runtime;
    UnknownNameError for a board or a precision without figures, TableMismatchError and FileFormatError for
    what cannot scale them.
    """
    if target.local:
        raise PonasError(
            f"'{target.device}' is this machine: `ponas profile` measures it, nothing is estimated."
        )
    if target.backends:
        raise PonasError("an estimate is of no runtime: leave out the backend.")
    figures, made = find_figures(board), []
    for space in spaces:
        for precision in target.precisions or ("",):
            conditions = estimated_conditions(
                target.device_name, figures, precision, target.threads, target.batch
            )
            figures.peak_tflops(conditions.precision, conditions.threads)
            scale = (
                _scale_by_file(scale_by, space, conditions, figures)
                if scale_by
                else _scale_by_stored(space, conditions, figures, on_note)
            )
            table = estimated_table(space, conditions, figures, scale)
            path = store.latency_path(conditions, SpaceKey.of(space), folder=out)
            write_latency_table(table, path, overwrite=True)
            made.append(StoredTable(path, table))
    return tuple(made)


def _scale_by_file(name: str, space: Space, conditions: Conditions, figures: BoardFigures) -> Scale:
    path = store.find_table(name)
    if _holds_networks(path, space):
        return scale_by_networks(read_networks(path), space, conditions, figures)
    return scale_by_table(path.name, load_latency_table(path), space, conditions, figures)


def _holds_networks(path: Path, space: Space) -> bool:
    """Whether it is a CSV with a column a layer, as networks are written, and not one of cells."""
    if path.suffix.lower() not in (".csv", ".tsv"):
        return False
    header = {name.strip() for name in read_lines(path)[0][1]}
    return header >= {layer.name for layer in space.layers}


def _scale_by_stored(
    space: Space, conditions: Conditions, figures: BoardFigures, on_note: OnNote
) -> Scale | None:
    """The scale by the measured table of the device that is most like what is estimated; None without one."""
    measured = [
        stored
        for stored in known_devices().get(conditions.device, ())
        if not stored.table.estimated
        and stored.table.space
        and stored.table.space.fingerprint == space.fingerprint
        and stored.conditions.precision in figures.tflops
    ]
    if not measured:
        return None
    best = min(measured, key=lambda stored: _unlike(stored, space, conditions))
    if not any(_unlike(best, space, conditions)):
        on_note(f"{best.name} was measured in these conditions: it serves, and the estimate does not")
    return scale_by_table(best.name, best.table, space, conditions, figures)


def _unlike(stored: StoredTable, space: Space, wanted: Conditions) -> tuple[bool, bool, bool, int]:
    own, key = stored.conditions, stored.table.space
    apart = abs(key.resolution - space.resolution) if key else 0
    return own.precision != wanted.precision, own.threads != wanted.threads, own.batch != wanted.batch, apart
