"""From what stands in a file to a grid of values: the rules that CSV and JSON share.

A file is read as rows of raw cells, layer by layer, before any of it is believed. Each rule is
written here once; what breaks it becomes a fault that names the place, and the reader goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.records import Faults, Record, in_words, is_number
from ponas_deploy.tables.grid import Grid
from searchspace.space import is_empty


@dataclass(frozen=True, slots=True)
class Column:
    """What the values of a column may be: from `low` (itself allowed unless `above`) to `high`."""

    name: str
    low: float
    high: float
    expected: str
    above: bool = False

    def fault(self, value: object, *, constant: bool = False) -> str:
        """What is wrong with a value, empty when nothing is; a constant may be as small as `low`."""
        if value is None or value == "":
            return f"{self.name} is missing."
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return f"{self.name} is {in_words(value)}, expected a number."
        if not is_number(value):
            return f"{self.name} is {in_words(value)}, expected a finite number."
        too_low = value <= self.low if self.above and not constant else value < self.low
        if too_low or value > self.high:
            return f"{self.name} is {value}, {self.expected}."
        return ""


LATENCY_MS = Column("latency_ms", 0.0, math.inf, "a latency must be above zero", above=True)
ISOLATED_MS = Column("isolated_ms", 0.0, math.inf, "a latency must be above zero", above=True)
LOSS_PP = Column("loss_pp", 0.0, math.inf, "a loss must be zero or above")
TOP1_PCT = Column("top1_pct", 0.0, 100.0, "percent lie between 0 and 100")


@dataclass(frozen=True, slots=True)
class RawCell:
    """One candidate of one layer as it stands in a file: the values by column, and where that is."""

    where: str
    layer: str
    candidate: str
    values: Mapping[str, Any]


Rows: TypeAlias = Sequence[Sequence[RawCell]]
"""The raw cells, layer by layer."""


def rows_of_record(record: Record, faults: Faults) -> Rows:
    """The rows of a JSON table's `layers`."""
    cells: dict[str, list[RawCell]] = {}
    for layer in record.records("layers", faults):
        name = _text(layer, "name", faults)
        if name in cells:
            faults.add(layer.error("name", f"layer '{name}' stands here a second time."))
        elif name is not None:
            cells[name] = list(_cells_of_layer(layer, name, faults))
    return arranged(record.path, (cell for row in cells.values() for cell in row), faults)


def _cells_of_layer(layer: Record, name: str, faults: Faults) -> Iterator[RawCell]:
    if layer.data.get("cells") == []:
        faults.add(layer.error("cells", f"is empty: layer '{name}' needs at least one candidate."))
    for cell in layer.records("cells", faults):
        label = _text(cell, "candidate", faults)
        if label is not None:
            yield RawCell(cell.where, name, label, cell.data)


def _text(record: Record, key: str, faults: Faults) -> str | None:
    return faults.attempt(lambda: record.text(key), None)


def arranged(path: Path, cells: Iterable[RawCell], faults: Faults) -> Rows:
    """Cells as rows, layers and candidates in order of first appearance; a repeated cell is a fault."""
    rows: dict[str, dict[str, RawCell]] = {}
    for cell in cells:
        row = rows.setdefault(cell.layer, {})
        if cell.candidate in row:
            first = row[cell.candidate].where
            twice = f"stands here a second time, after {first}."
            faults.add(FileFormatError(path, cell.where, f"{_name(cell)} {twice}"))
        else:
            row[cell.candidate] = cell
    if not rows:
        faults.add(FileFormatError(path, "", "holds no cells: a table needs a value for each candidate."))
    return [list(row.values()) for row in rows.values()]


def grid_of(path: Path, rows: Rows, column: Column, fixed: float, faults: Faults) -> Grid:
    """The grid of a column. A value that breaks the rules is a fault, and NaN in the grid."""
    return Grid(
        tuple(row[0].layer for row in rows),
        tuple(tuple(cell.candidate for cell in row) for row in rows),
        tuple(tuple(_value(path, cell, column, faults) for cell in row) for row in rows),
        fixed,
    )


def _value(path: Path, cell: RawCell, column: Column, faults: Faults) -> float:
    value = cell.values.get(column.name)
    reason = column.fault(value)
    if reason and not (value == 0 and is_empty(str(cell.values.get("key", "")))):
        faults.add(FileFormatError(path, cell.where, f"{_name(cell)}: {reason}"))
        return math.nan
    return float(value)  # type: ignore[arg-type]


def _name(cell: RawCell) -> str:
    return f"layer '{cell.layer}' candidate '{cell.candidate}'"
