"""Other people's tables from plain CSV: `layer,candidate,latency_ms` and `layer,candidate,loss_pp`.

`top1_pct` may stand for `loss_pp`: the loss is then taken layer by layer. Layers and candidates are
any labels, in order of first appearance. An optional row `,fixed,1.25` is a constant. Every error
names the line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.opening import MOST_CSV_BYTES, read_text
from ponas_deploy.files.records import Faults
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.cells import LATENCY_MS, LOSS_PP, TOP1_PCT, Column, RawCell, arranged, grid_of
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable

Lines: TypeAlias = Sequence[tuple[int, list[str]]]
"""Numbered lines of a CSV file that are not blank, the header first."""

_NUMBER = re.compile(r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|inf(inity)?)", re.I | re.A)

COLUMNS = (LATENCY_MS, LOSS_PP, TOP1_PCT)


def read_lines(path: Path) -> Lines:
    """The lines of a CSV file; FileFormatError when it cannot be read or is empty."""
    try:
        reader = csv.reader(io.StringIO(read_text(path, MOST_CSV_BYTES), newline=""))
        lines = [(reader.line_num, row) for row in reader if any(field.strip() for field in row)]
    except csv.Error as error:
        raise FileFormatError(path, "", f"is not a CSV file ({error}).") from error
    if not lines:
        raise FileFormatError(path, "line 1", "is empty: expected a header.")
    return lines


def column_of(path: Path, lines: Lines, wanted: Sequence[Column] = COLUMNS) -> Column:
    """The column of values that the header names, one of `wanted`."""
    number, header = lines[0]
    names = [name.strip() for name in header]
    for column in wanted:
        if names == ["layer", "candidate", column.name]:
            return column
    expected = " or ".join(f"layer,candidate,{column.name}" for column in wanted)
    reason = f"the header is '{','.join(names)}', expected {expected}."
    if len(names) == 1 and ";" in names[0]:
        reason += " Separate fields by commas."
    raise FileFormatError(path, f"line {number}", reason)


def latency_from_lines(path: Path, lines: Lines, faults: Faults) -> LatencyTable:
    """A latency table of the column `latency_ms`; values must be above zero."""
    return LatencyTable(_grid(path, lines, column_of(path, lines, (LATENCY_MS,)), faults))


def accuracy_from_lines(path: Path, lines: Lines, faults: Faults) -> AccuracyTable:
    """An accuracy table of the column `loss_pp` (zero or above) or `top1_pct` (0 to 100)."""
    column = column_of(path, lines, (LOSS_PP, TOP1_PCT))
    grid = _grid(path, lines, column, faults)
    return AccuracyTable.from_top1(grid) if column is TOP1_PCT else AccuracyTable(grid)


def _grid(path: Path, lines: Lines, column: Column, faults: Faults) -> Grid:
    cells = list(_cells(path, lines, column, faults))
    fixed = _fixed(path, [cell for cell in cells if not cell.layer], column, faults)
    rows = arranged(path, (cell for cell in cells if cell.layer), faults)
    return grid_of(path, rows, column, fixed, faults)


def _cells(path: Path, lines: Lines, column: Column, faults: Faults) -> Iterator[RawCell]:
    for number, row in lines[1:]:
        where = f"line {number}"
        if len(row) != 3:
            faults.add(FileFormatError(path, where, f"has {len(row)} fields, expected 3."))
            continue
        layer, candidate, text = (field.strip() for field in row)
        if not candidate or (not layer and candidate != "fixed"):
            faults.add(FileFormatError(path, where, "lacks a layer or a candidate."))
            continue
        yield RawCell(where, layer, candidate, {column.name: _number_or_text(text)})


def _number_or_text(text: str) -> float | str:
    """A number as tables write it; Python would also read `1_000` and the digits of other scripts."""
    return float(text) if _NUMBER.fullmatch(text) else text


def _fixed(path: Path, constants: Sequence[RawCell], column: Column, faults: Faults) -> float:
    if not constants:
        return 0.0
    for again in constants[1:]:
        reason = "the constant 'fixed' stands here a second time."
        faults.add(FileFormatError(path, again.where, reason))
    first = constants[0]
    reason = column.fault(first.values[column.name], constant=True)
    if reason:
        faults.add(FileFormatError(path, first.where, f"the constant 'fixed': {reason}"))
        return 0.0
    return float(first.values[column.name])
