"""Other people's tables from CSV: columns `layer`, `candidate`, and `latency_ms`, `loss_pp` or `top1_pct`.

Columns are found by name, in any order and case; others are passed over with a note. The unit of a latency
stands in the name of its column (`csv_header.py`). Fields stand apart by commas, semicolons (then a decimal
comma is read too) or tabs. With `top1_pct` alone the loss is taken layer by layer. Layers and candidates are
any labels, in order of first appearance. An optional row whose layer is empty and whose candidate is `fixed`
is a constant. Every error names the line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.opening import MOST_CSV_BYTES, read_text
from ponas_deploy.files.records import Faults
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.cells import LATENCY_MS, LOSS_PP, TOP1_PCT, Column, RawCell, arranged, grid_of
from ponas_deploy.tables.csv_header import Header, Lines, Place, columns_in, separator_of
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable

_NUMBER = re.compile(r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|inf(inity)?)", re.I | re.A)


def read_lines(path: Path) -> Lines:
    """The lines of a CSV file; FileFormatError when it cannot be read or is empty."""
    text = read_text(path, MOST_CSV_BYTES)
    separator = separator_of(next((line for line in text.splitlines() if line.strip()), ""))
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        lines = [(reader.line_num, row) for row in reader if any(field.strip() for field in row)]
    except csv.Error as error:
        raise FileFormatError(path, "", f"is not a CSV file ({error}).") from error
    if not lines:
        raise FileFormatError(path, "line 1", "is empty: expected a header.")
    return Lines(lines, separator)


def is_latency(path: Path, lines: Lines) -> bool:
    """Whether the header names a latency; FileFormatError where it names no value at all."""
    wanted = (LATENCY_MS, LOSS_PP, TOP1_PCT)
    return LATENCY_MS in columns_in(path, lines, wanted).values


def latency_from_lines(path: Path, lines: Lines, faults: Faults) -> LatencyTable:
    """A latency table, in milliseconds; an identity or an absent layer may cost exactly 0."""
    from ponas_deploy.tables.known import known_spaces

    header = columns_in(path, lines, (LATENCY_MS,))
    _note_columns(header, LATENCY_MS, faults)
    grid, has_constant = _grid(path, lines, header, LATENCY_MS, faults)
    spaces = [space.name for space in known_spaces(grid)]
    if len(spaces) > 1:
        faults.note(
            "the space",
            f"layers and candidates are those of {' and '.join(spaces)}: parameters and MACs are counted for"
            f" {spaces[0]} where neither --space nor weights name another.",
        )
    if spaces and not has_constant:
        faults.note(
            "the constant",
            "there is no row ',fixed,MS': stem and head count nothing, and every network takes longer than is"
            " predicted.",
        )
    for layer, row in zip(grid.layers, grid.values, strict=True):
        if not any(row):
            faults.note(f"layer '{layer}'", "every candidate costs 0: its accuracy alone decides there.")
    return LatencyTable(grid)


def accuracy_from_lines(path: Path, lines: Lines, faults: Faults) -> AccuracyTable:
    """An accuracy table of the column `loss_pp` (zero or above), `top1_pct` (0 to 100), or both."""
    header = columns_in(path, lines, (LOSS_PP, TOP1_PCT))
    found = [column for column in (LOSS_PP, TOP1_PCT) if column in header.values]
    _note_columns(header, found[-1], faults)
    grids = {column: _grid(path, lines, header, column, faults)[0] for column in found}
    if LOSS_PP not in grids:
        return AccuracyTable.from_top1(grids[TOP1_PCT])
    return AccuracyTable(grids[LOSS_PP], grids.get(TOP1_PCT))


def _note_columns(header: Header, column: Column, faults: Faults) -> None:
    if header.others:
        faults.note("the header", f"columns passed over: {', '.join(header.others)}.")
    place = header.values[column]
    if place.factor != 1:
        faults.note("the header", f"'{place.name}' is read as {column.name} (times {place.factor:g}).")


def _grid(path: Path, lines: Lines, header: Header, column: Column, faults: Faults) -> tuple[Grid, bool]:
    """The values of a column, and whether there is a constant among them."""
    cells = list(_cells(path, lines, header, column, faults))
    constants = [cell for cell in cells if not cell.layer]
    fixed = _fixed(path, constants, column, faults)
    rows = arranged(path, (cell for cell in cells if cell.layer), faults)
    return grid_of(path, rows, column, fixed, faults), bool(constants)


def _cells(path: Path, lines: Lines, header: Header, column: Column, faults: Faults) -> Iterator[RawCell]:
    value, comma = header.values[column], lines.separator != ","
    for number, row in lines[1:]:
        where = f"line {number}"
        if len(row) != header.width:
            faults.add(FileFormatError(path, where, f"has {len(row)} fields, expected {header.width}."))
            continue
        layer, candidate, text = (row[at].strip() for at in (header.layer, header.candidate, value.at))
        if not candidate or (not layer and candidate.lower() != "fixed"):
            faults.add(FileFormatError(path, where, "lacks a layer or a candidate."))
            continue
        yield RawCell(where, layer, candidate, {column.name: _value(text, value, decimal_comma=comma)})


def _value(text: str, place: Place, *, decimal_comma: bool) -> float | str:
    """A number as tables write it; Python would also read `1_000` and the digits of other scripts."""
    number = text.replace(",", ".") if decimal_comma and text.count(",") == 1 else text
    return float(number) * place.factor if _NUMBER.fullmatch(number) else text


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
