"""Reading a table from its file, JSON or CSV: whole (`load_...`), or as far as it goes (`sift_table`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from ponas_deploy.files.documents import read_raw
from ponas_deploy.files.records import Faults
from ponas_deploy.tables import accuracy_file, csv_import, latency_file
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import ACCURACY_TABLE, accuracy_from_raw
from ponas_deploy.tables.cells import LATENCY_MS
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import LATENCY_TABLE, latency_from_raw

Found = TypeVar("Found")
AnyTable: TypeAlias = LatencyTable | AccuracyTable


def load_latency_table(path: Path) -> LatencyTable:
    """A latency table from JSON, or from CSV where the name ends in .csv.

    FileFormatError names the place of the first fault.
    """
    return _whole(lambda faults: _sift_latency(path, faults))


def load_accuracy_table(path: Path) -> AccuracyTable:
    """An accuracy table from JSON, or from CSV where the name ends in .csv; else as above."""
    return _whole(lambda faults: _sift_accuracy(path, faults))


def load_table(path: Path) -> AnyTable:
    """A table of either kind, told by its format or its header."""
    return _whole(lambda faults: sift_table(path, faults))


def table_document(table: AnyTable) -> dict[str, Any]:
    """A table as the JSON document that its file holds."""
    if isinstance(table, LatencyTable):
        return {"format": latency_file.FORMAT, **latency_file.latency_document(table)}
    return {"format": accuracy_file.FORMAT, **accuracy_file.accuracy_document(table)}


def sift_table(path: Path, faults: Faults) -> AnyTable:
    """A table of either kind as far as it can be read, and every fault in it.

    A value that cannot be believed is NaN in the grid. FileFormatError when nothing can be read.
    """
    if _is_csv(path):
        lines = csv_import.read_lines(path)
        if csv_import.column_of(path, lines) is LATENCY_MS:
            return csv_import.latency_from_lines(path, lines, faults)
        return csv_import.accuracy_from_lines(path, lines, faults)
    raw = read_raw(path, LATENCY_TABLE, ACCURACY_TABLE)
    return latency_from_raw(raw, faults) if raw.format is LATENCY_TABLE else accuracy_from_raw(raw, faults)


def _sift_latency(path: Path, faults: Faults) -> LatencyTable:
    if _is_csv(path):
        return csv_import.latency_from_lines(path, csv_import.read_lines(path), faults)
    return latency_from_raw(read_raw(path, LATENCY_TABLE), faults)


def _sift_accuracy(path: Path, faults: Faults) -> AccuracyTable:
    if _is_csv(path):
        return csv_import.accuracy_from_lines(path, csv_import.read_lines(path), faults)
    return accuracy_from_raw(read_raw(path, ACCURACY_TABLE), faults)


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _whole(sift: Callable[[Faults], Found]) -> Found:
    faults = Faults()
    table = sift(faults)
    faults.refuse()
    return table
