"""Other people's tables from plain CSV: `layer,candidate,latency_ms` and `layer,candidate,loss_pp`.

`top1_pct` may stand for `loss_pp`: the loss is then taken layer by layer. Layers and candidates are
any labels, in order of first appearance. An optional row `,fixed,1.25` is a constant. Every error
names the line.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from ponas_deploy.errors import FileFormatError
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable


def latency_from_csv(path: Path) -> LatencyTable:
    """A latency table of the column `latency_ms`; values must be above zero."""
    _, grid = _read(path, ("latency_ms",))
    return LatencyTable(grid)


def accuracy_from_csv(path: Path) -> AccuracyTable:
    """An accuracy table of the column `loss_pp` (zero or above) or `top1_pct` (0 to 100)."""
    column, grid = _read(path, ("loss_pp", "top1_pct"))
    return AccuracyTable.from_top1(grid) if column == "top1_pct" else AccuracyTable(grid)


def _read(path: Path, columns: tuple[str, ...]) -> tuple[str, Grid]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(reader_line, row) for reader_line, row in _numbered(csv.reader(file))]
    except OSError as error:
        raise FileFormatError(path, "", f"cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileFormatError(path, "", f"is not a CSV file ({error}).") from error
    if not rows:
        raise FileFormatError(path, "line 1", "is empty: expected a header.")
    column = _column(path, rows[0][1], columns)
    cells: dict[str, dict[str, float]] = {}
    fixed: float | None = None
    for line, row in rows[1:]:
        layer, candidate, value = _row(path, line, row, column)
        if not layer and candidate == "fixed":
            if fixed is not None:
                raise FileFormatError(path, f"line {line}", "the constant 'fixed' stands here a second time.")
            fixed = value
            continue
        if candidate in cells.setdefault(layer, {}):
            raise FileFormatError(
                path, f"line {line}", f"layer '{layer}' candidate '{candidate}' stands here a second time."
            )
        cells[layer][candidate] = value
    if not cells:
        raise FileFormatError(path, "", "holds no cells: expected a row for each layer and candidate.")
    grid = Grid(
        tuple(cells),
        tuple(tuple(row) for row in cells.values()),
        tuple(tuple(row.values()) for row in cells.values()),
        fixed or 0.0,
    )
    return column, grid


def _numbered(reader: csv.reader) -> list[tuple[int, list[str]]]:  # type: ignore[valid-type]
    return [(reader.line_num, row) for row in reader if any(field.strip() for field in row)]  # type: ignore[attr-defined]


def _column(path: Path, header: list[str], columns: tuple[str, ...]) -> str:
    names = [name.strip() for name in header]
    for column in columns:
        if names == ["layer", "candidate", column]:
            return column
    wanted = " or ".join(f"layer,candidate,{column}" for column in columns)
    raise FileFormatError(path, "line 1", f"the header is '{','.join(names)}', expected {wanted}.")


def _row(path: Path, line: int, row: list[str], column: str) -> tuple[str, str, float]:
    where = f"line {line}"
    if len(row) != 3:
        raise FileFormatError(path, where, f"has {len(row)} fields, expected 3.")
    layer, candidate, text = (field.strip() for field in row)
    if not candidate or (not layer and candidate != "fixed"):
        raise FileFormatError(path, where, "lacks a layer or a candidate.")
    try:
        value = float(text)
    except ValueError as error:
        raise FileFormatError(path, where, f"{column} is '{text}', expected a number.") from error
    cell = f"layer '{layer}' candidate '{candidate}'" if layer else "the constant 'fixed'"
    low, high = _RANGE[column]
    in_range = low <= value <= high and (value > 0 or column != "latency_ms" or not layer)
    if not (math.isfinite(value) and in_range):
        raise FileFormatError(path, where, f"{cell}: {column} is {text}, {_EXPECTED[column]}.")
    return layer, candidate, value


_RANGE = {"latency_ms": (0.0, math.inf), "loss_pp": (0.0, math.inf), "top1_pct": (0.0, 100.0)}
_EXPECTED = {
    "latency_ms": "a latency must be above zero",
    "loss_pp": "a loss must be zero or above",
    "top1_pct": "percent lie between 0 and 100",
}
