"""Reading a table from its file, JSON or CSV: whole (`load_...`), or as far as it goes (`sift_table`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from ponas_deploy.files.documents import read_raw
from ponas_deploy.files.kinds import refuse_other_kind
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.opening import first_line
from ponas_deploy.files.records import Faults
from ponas_deploy.tables import accuracy_file, csv_import, latency_file
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import ACCURACY_TABLE, accuracy_from_raw
from ponas_deploy.tables.foreign import refuse_foreign
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import LATENCY_TABLE, latency_from_raw

Found = TypeVar("Found")
AnyTable: TypeAlias = LatencyTable | AccuracyTable
_EXPECTED = "table in CSV or JSON"


def load_latency_table(path: Path, on_note: OnNote = no_note) -> LatencyTable:
    """A latency table from JSON or CSV.

    `on_note` is called with what a person should know about the file, such as columns that were passed
    over. FileFormatError names the place of the first fault, and the others behind it.
    """
    return _whole(path, lambda faults: _sift_latency(path, faults), on_note)


def load_accuracy_table(path: Path, on_note: OnNote = no_note) -> AccuracyTable:
    """An accuracy table from JSON or CSV; else as above."""
    return _whole(path, lambda faults: _sift_accuracy(path, faults), on_note)


def load_table(path: Path, on_note: OnNote = no_note) -> AnyTable:
    """A table of either kind, told by its format or its header."""
    return _whole(path, lambda faults: sift_table(path, faults), on_note)


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
        if csv_import.is_latency(path, lines):
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
    """By its name, else by content that is no JSON; FileFormatError says what neither of them is."""
    refuse_other_kind(path, _EXPECTED)
    refuse_foreign(path, _EXPECTED)
    if (suffix := path.suffix.lower()) in (".csv", ".tsv", ".json"):
        return suffix != ".json"
    first = first_line(path)
    return bool(first) and not first.startswith(("{", "["))


def _whole(path: Path, sift: Callable[[Faults], Found], on_note: OnNote) -> Found:
    faults = Faults()
    table = sift(faults)
    faults.refuse()
    for note in faults.notes:
        on_note(f"{path}: {note.about}: {note.message}")
    return table
