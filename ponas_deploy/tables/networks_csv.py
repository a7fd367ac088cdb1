"""Networks with a measured value, anyone's, from CSV: a column a layer, then `latency_ms` or `top1_pct`.

    stem,stage1,stage2,latency_ms
    k3e3,k5e6se,k7e6,12.41

A layer's column is named by the layer and holds candidates' labels; layers and labels are any text. The
same network may stand there again: that is a repeated measurement. Every error names line and column.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Literal, TypeAlias

from ponas_deploy.errors import FileFormatError, UnknownNameError
from ponas_deploy.files.records import write_bytes
from ponas_deploy.tables.cells import LATENCY_MS, TOP1_PCT, Column
from ponas_deploy.tables.csv_import import read_lines
from ponas_deploy.tables.depth import depth_fault
from ponas_deploy.tables.grid import Grid
from searchspace.space import Space

Kind: TypeAlias = Literal["latency", "accuracy"]
COLUMNS: dict[str, tuple[Column, Kind]] = {
    LATENCY_MS.name: (LATENCY_MS, "latency"),
    TOP1_PCT.name: (TOP1_PCT, "accuracy"),
}


@dataclass(frozen=True, slots=True)
class Networks:
    """The rows of a file, in its order.

    `choices` is (rows, layers). `values` are in ms or percent by `kind`, and empty where the file has
    no column of values (`kind` is None then). `lines` are the rows' places in the file, `header` is that
    of the header.
    """

    path: Path
    layers: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]
    values: tuple[float, ...]
    kind: Kind | None
    lines: tuple[int, ...]
    header: int = 1

    def __len__(self) -> int:
        return len(self.choices)

    @property
    def candidates(self) -> tuple[tuple[str, ...], ...]:
        """Each layer's labels, in order of first appearance."""
        return tuple(tuple(dict.fromkeys(column)) for column in zip(*self.choices, strict=True))


def read_networks(path: Path, *, values: Literal["required", "optional"] = "required") -> Networks:
    """The networks of a CSV file; FileFormatError names the line and the column of the first fault.

    With `values="optional"` the last column may be absent.
    """
    lines = read_lines(path)
    number, header = lines[0]
    names = tuple(name.strip() for name in header)
    column, kind = COLUMNS.get(names[-1], (None, None))
    layers = names if column is None else names[:-1]
    _check_header(path, number, names, layers, column is None and values == "required")
    if len(lines) == 1:
        raise FileFormatError(path, f"line {number}", "is the header, and no network follows.")
    choices: list[tuple[str, ...]] = []
    found, places = [], []
    for line, row in lines[1:]:
        fields = [field.strip() for field in row]
        _check_row(path, line, fields, names, len(layers))
        choices.append(tuple(fields[: len(layers)]))
        places.append(line)
        if column is not None:
            found.append(_value(path, line, fields[-1], column, len(names)))
    return Networks(path, layers, tuple(choices), tuple(found), kind, tuple(places), number)


def write_networks(networks: Networks) -> None:
    """Write networks to their own path, over an older file; `read_networks` reads them back exactly."""
    column = [name for name, (_, kind) in COLUMNS.items() if kind == networks.kind]
    values = [[repr(value)] for value in networks.values] or [[]] * len(networks)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*networks.layers, *column])
    writer.writerows([*row, *value] for row, value in zip(networks.choices, values, strict=True))
    write_bytes(networks.path, text.getvalue().encode(), overwrite=True)


@dataclass(frozen=True, slots=True)
class UnknownRow:
    """A row of a file with a candidate that a table does not know, or that its space does not allow there.

    The first one of the row, by its place.
    """

    row: int
    where: str
    layer: str
    candidate: str
    reason: str

    @property
    def text(self) -> str:
        """One line for people."""
        return f"{self.where}: {self.reason}"


def in_order_of(networks: Networks, grid: Grid, space: Space | None = None) -> Networks:
    """The same networks with their layers in the order of a table's.

    FileFormatError names a layer that one of them lacks, or the line and column of a label that the
    table does not know or that the depth rule of its `space` does not allow.
    """
    ordered, unknown = known_and_unknown(networks, grid, space)
    if unknown:
        raise FileFormatError(networks.path, unknown[0].where, unknown[0].reason)
    return ordered


def known_and_unknown(
    networks: Networks, grid: Grid, space: Space | None = None
) -> tuple[Networks, tuple[UnknownRow, ...]]:
    """All the networks with their layers in the order of a table's, and those with labels that it has not.

    Where a `space` of the same layers is known, also those that break its depth rule. FileFormatError names
    a layer that one of them lacks.
    """
    order = _columns(networks, grid)
    choices = tuple(tuple(row[index] for index in order) for row in networks.choices)
    known = [frozenset(labels) for labels in grid.candidates]
    unknown = []
    for row, (line, chosen) in enumerate(zip(networks.lines, choices, strict=True)):
        for number, label in enumerate(chosen):
            if label not in known[number]:
                layer, where = grid.layers[number], f"line {line}, column {order[number] + 1}"
                reason = str(UnknownNameError(f"candidate of layer {layer}", label, grid.candidates[number]))
                unknown.append(UnknownRow(row, where, layer, label, reason))
                break
        else:
            if fault := depth_fault(grid, space, chosen):
                layer, label = grid.layers[fault.layer], chosen[fault.layer]
                where = f"line {line}, column {order[fault.layer] + 1}"
                unknown.append(UnknownRow(row, where, layer, label, fault.text))
    return replace(networks, layers=grid.layers, choices=choices), tuple(unknown)


def _columns(networks: Networks, grid: Grid) -> list[int]:
    """The column of each layer of a table, in its order."""
    path = networks.path
    for layer in networks.layers:
        if layer not in grid.layers:
            names = ", ".join(grid.layers)
            where = f"line {networks.header}, column {networks.layers.index(layer) + 1}"
            raise FileFormatError(path, where, f"'{layer}' is no layer of the table: known are {names}.")
    missing = [layer for layer in grid.layers if layer not in networks.layers]
    if missing:
        reason = f"lacks a column for layer '{missing[0]}' of the table."
        raise FileFormatError(path, f"line {networks.header}", reason)
    return [networks.layers.index(layer) for layer in grid.layers]


def _check_header(
    path: Path, line: int, names: Sequence[str], layers: Sequence[str], lacks_values: bool
) -> None:
    for place, name in enumerate(names, start=1):
        where = f"line {line}, column {place}"
        if not name:
            raise FileFormatError(path, where, "has no name: a column is named by its layer.")
        if name in names[: place - 1]:
            reason = f"'{name}' stands here a second time, after column {names.index(name) + 1}."
            raise FileFormatError(path, where, reason)
        if name in COLUMNS and place < len(names):
            raise FileFormatError(path, where, f"'{name}' must be the last column.")
    if lacks_values:
        expected = " or ".join(f"'{name}'" for name in COLUMNS)
        where = f"line {line}, column {len(names)}"
        raise FileFormatError(path, where, f"the last column is '{names[-1]}', expected {expected}.")
    if not layers:
        raise FileFormatError(path, f"line {line}", "names no layer before the values.")


def _check_row(path: Path, line: int, fields: Sequence[str], names: Sequence[str], layers: int) -> None:
    if len(fields) != len(names):
        raise FileFormatError(
            path, f"line {line}", f"has {len(fields)} fields, but the header has {len(names)} columns."
        )
    for place, label in enumerate(fields[:layers], start=1):
        if not label:
            where = f"line {line}, column {place}"
            raise FileFormatError(path, where, f"lacks the candidate of layer '{names[place - 1]}'.")


def _value(path: Path, line: int, text: str, column: Column, place: int) -> float:
    try:
        value: float | str = float(text)
    except ValueError:
        value = text
    reason = column.fault(value)
    if reason:
        raise FileFormatError(path, f"line {line}, column {place}", reason)
    return float(value) if isinstance(value, float) else nan
