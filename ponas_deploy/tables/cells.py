"""From what stands in a file to a grid of values: the rules that CSV and JSON share.

A file is read as rows of raw cells, layer by layer, before any of it is believed. Each rule is
written here once; what breaks it becomes a fault that names the place, and the reader goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.documents import RawDocument, converted
from ponas_deploy.files.records import Faults, in_words, is_number
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


def rows_of(raw: RawDocument, faults: Faults) -> Rows:
    """The rows of a JSON table's `layers`."""
    cells: dict[str, list[RawCell]] = {}
    listed: list[Any] = faults.attempt(lambda: _listed(raw), [])
    for where, layer in _objects(raw.path, "layers", listed, faults):
        name = faults.attempt(partial(_text, raw.path, where, layer, "name"), None)
        if name in cells:
            again = f"layer '{name}' stands here a second time."
            faults.add(FileFormatError(raw.path, f"{where}.name", again))
        elif name is not None:
            cells[name] = list(_cells_of_layer(raw.path, where, layer, name, faults))
    return arranged(raw.path, (cell for row in cells.values() for cell in row), faults)


def _listed(raw: RawDocument) -> list[Any]:
    """The layers as they stand there, NaN too: each cell that has one is a fault of its own."""
    if "layers" not in raw.data:
        raise raw.error("layers", "is missing.")
    return converted(raw.data["layers"], list[Any], raw.path, "layers")


def _cells_of_layer(
    path: Path, where: str, layer: dict[str, Any], name: str, faults: Faults
) -> Iterator[RawCell]:
    place = f"{where}.cells"
    listed = layer.get("cells")
    if not isinstance(listed, list):
        reason = f"is {in_words(listed)}, expected a list." if "cells" in layer else "is missing."
        faults.add(FileFormatError(path, place, reason))
        return
    if not listed:
        faults.add(FileFormatError(path, place, f"is empty: layer '{name}' needs at least one candidate."))
    for inside, cell in _objects(path, place, listed, faults):
        label = faults.attempt(partial(_text, path, inside, cell, "candidate"), None)
        if label is not None:
            yield RawCell(inside, name, label, cell)


def _objects(
    path: Path, where: str, listed: list[Any], faults: Faults
) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, value in enumerate(listed):
        if isinstance(value, dict):
            yield f"{where}[{index}]", value
        else:
            reason = f"is {in_words(value)}, expected an object."
            faults.add(FileFormatError(path, f"{where}[{index}]", reason))


def _text(path: Path, where: str, found: dict[str, Any], key: str) -> str | None:
    if key not in found:
        raise FileFormatError(path, f"{where}.{key}", "is missing.")
    return converted(found[key], str, path, f"{where}.{key}")


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
    if not rows and not faults.found:
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
    if reason and not (column.above and is_number(value) and value == 0 and _may_cost_nothing(cell)):
        faults.add(FileFormatError(path, cell.where, f"{_name(cell)}: {reason}"))
        return math.nan
    return float(value)  # type: ignore[arg-type]


def _may_cost_nothing(cell: RawCell) -> bool:
    """Whether a latency of exactly 0 can be: an identity or an absent layer. What was timed took some time.

    The key of a cell says what was timed, and is in tables of ours alone.
    """
    key = cell.values.get("key")
    return key is None or is_empty(str(key))


def _name(cell: RawCell) -> str:
    return f"layer '{cell.layer}' candidate '{cell.candidate}'"
