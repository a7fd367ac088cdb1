"""Tables by the name or path that a person gives."""

from __future__ import annotations

from collections.abc import Sequence

from ponas_deploy.errors import PonasError
from ponas_deploy.tables import AccuracyTable, LatencyTable, load_accuracy_table, load_latency_table
from ponas_deploy.tables.names import short_names
from ponas_deploy.tables.spaces import space_of
from ponas_deploy.tables.store import find_table


def read_latency_tables(files: Sequence[str]) -> tuple[list[LatencyTable], tuple[str, ...]]:
    """The tables, and a short name of each that tells them apart."""
    paths = [find_table(name) for name in files]
    tables = [load_latency_table(path) for path in paths]
    return tables, short_names(tables, paths)


def read_tables(
    latency_files: Sequence[str], accuracy_file: str | None
) -> tuple[list[LatencyTable], tuple[str, ...], AccuracyTable]:
    """Latency tables with their names, and the accuracy table that was named or is the space's own."""
    tables, names = read_latency_tables(latency_files)
    if accuracy_file is None:
        space = space_of(tables[0])
        if space is None:
            raise PonasError("the latency table's space is not known here: name its --accuracy-table too.")
        accuracy_file = f"accuracy/{space.name}"
    return tables, names, load_accuracy_table(find_table(accuracy_file))
