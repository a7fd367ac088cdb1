"""Tables by the name or path that a person gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ponas_deploy.errors import PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.files import AnyTable, load_accuracy_table, load_latency_table, load_table
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.names import short_names
from ponas_deploy.tables.spaces import space_of
from ponas_deploy.tables.store import StoredTable, find_table, latency_path, own_accuracy_table


def latency_table(name: Path | str) -> LatencyTable:
    """Read a latency table, in milliseconds, by its path or by the name of a stored or shipped one.

    Args:
        name: a path (JSON, or CSV with `layer,candidate,latency_ms`), or a name such as
            `jetson/onnxruntime-fp32-t1-b1-ponas-224px-1000c`.

    Raises: UnknownNameError that lists the names that exist, FileFormatError for a file that is no latency
    table, is broken or is newer than this program.
    """
    return load_latency_table(find_table(str(name)))


def accuracy_table(name: Path | str) -> AccuracyTable:
    """Read an accuracy table, losses in percentage points, by its path or its name, such as `ponas`.

    Args:
        name: a path (JSON, or CSV with `layer,candidate,loss_pp` or `top1_pct`), or the name of a stored or
            shipped one.

    Raises: UnknownNameError that lists the names that exist, FileFormatError for a file that is no accuracy
    table, is broken or is newer than this program.
    """
    return load_accuracy_table(find_table(str(name)))


def read_latency_tables(
    files: Sequence[str], on_note: OnNote = no_note
) -> tuple[list[LatencyTable], tuple[str, ...]]:
    """The tables, and a short name of each that tells them apart; `on_note` as of `load_latency_table`."""
    paths = [find_table(name) for name in files]
    tables = [load_latency_table(path, on_note) for path in paths]
    return tables, short_names(tables, paths)


def read_tables(
    latency_files: Sequence[str], accuracy_file: str | None, on_note: OnNote = no_note
) -> tuple[list[LatencyTable], tuple[str, ...], AccuracyTable]:
    """Latency tables with their names, and the accuracy table that was named or is the space's own."""
    tables, names = read_latency_tables(latency_files, on_note)
    (accuracy,) = read_accuracy_tables([accuracy_file] if accuracy_file else [], tables[0], on_note)
    return tables, names, accuracy


def read_accuracy_tables(
    files: Sequence[str], latency: LatencyTable, on_note: OnNote = no_note
) -> list[AccuracyTable]:
    """The accuracy tables that were named, or the one of the latency table's space."""
    if files:
        return [load_accuracy_table(find_table(name), on_note) for name in files]
    if (space := space_of(latency)) is None:
        raise PonasError("the latency table's space is not known here: name its --accuracy-table too.")
    return [own_accuracy_table(space.name, on_note).table]


def named_tables(*names: str | None) -> list[AnyTable]:
    """The latency or accuracy tables of these paths or names; None names none."""
    return [load_table(find_table(name)) for name in names if name]


def as_stored(table: LatencyTable | StoredTable | Path | str) -> StoredTable:
    """A table with its file; a value as if it lay where its conditions place it."""
    if isinstance(table, StoredTable):
        return table
    if not isinstance(table, LatencyTable):
        path = find_table(str(table))
        return StoredTable(path, load_latency_table(path))
    path = Path("the") / "table.json"
    if table.conditions and table.space:
        path = latency_path(table.conditions, table.space, table.power_mode)
    return StoredTable(path, table)
