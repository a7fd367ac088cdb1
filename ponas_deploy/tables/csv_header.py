"""The header of a CSV table: which column is which, in what unit, and what else there is.

A name may be written in any case, with blanks or brackets (`Latency [ms]`). A latency is in the unit that
its column names: `latency_s`, `latency_ms`, `latency_us` or `latency_ns`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.errors import FileFormatError
from ponas_deploy.tables.cells import LATENCY_MS, LOSS_PP, TOP1_PCT, Column

LAYER, CANDIDATE = "layer", "candidate"
_SEPARATORS = (",", ";", "\t")
_UNITS: Mapping[str, tuple[Column, float]] = {
    "latency_ms": (LATENCY_MS, 1.0),
    "latency_us": (LATENCY_MS, 1e-3),
    "latency_ns": (LATENCY_MS, 1e-6),
    "latency_s": (LATENCY_MS, 1e3),
    "loss_pp": (LOSS_PP, 1.0),
    "top1_pct": (TOP1_PCT, 1.0),
}
"""What a column of values is called, and what makes its numbers those of the column that tables hold."""
_WITHOUT_UNIT = {"latency": LATENCY_MS, "loss": LOSS_PP, "top1": TOP1_PCT}


class Lines(list[tuple[int, list[str]]]):
    """Numbered lines of a CSV file that are not blank, the header first, and what separates the fields."""

    def __init__(self, lines: Sequence[tuple[int, list[str]]], separator: str) -> None:
        super().__init__(lines)
        self.separator = separator


@dataclass(frozen=True, slots=True)
class Place:
    """Where a column of values stands, what it is called there, and the factor into the table's unit."""

    at: int
    name: str
    factor: float


@dataclass(frozen=True, slots=True)
class Header:
    """The places of layer, candidate and values among `width` columns, and the names of the `others`."""

    width: int
    layer: int
    candidate: int
    values: Mapping[Column, Place]
    others: tuple[str, ...]


def separator_of(line: str) -> str:
    """What separates the fields of a header: what gives most known names, then most fields; else commas."""

    def score(separator: str) -> tuple[int, int]:
        fields = next(csv.reader([line], delimiter=separator), [])
        return sum(_plain(name) in (LAYER, CANDIDATE, *_UNITS) for name in fields), len(fields)

    try:
        return max(_SEPARATORS, key=score)
    except csv.Error:
        return _SEPARATORS[0]


def columns_in(path: Path, lines: Lines, wanted: Sequence[Column]) -> Header:
    """The columns that the header names; FileFormatError says all that is wrong with it.

    One of `wanted` must be there; both columns of an accuracy table may be.
    """
    number, names = lines[0][0], [name.strip() for name in lines[0][1]]
    plain = [_plain(name) for name in names]
    wrong = [f"it lacks '{name}'" for name in (LAYER, CANDIDATE) if name not in plain]
    twice = [name for name in (LAYER, CANDIDATE) if plain.count(name) > 1]
    wrong += [f"'{name}' stands there {plain.count(name)} times" for name in twice]
    values: dict[Column, Place] = {}
    for at, name in enumerate(plain):
        column, factor = _UNITS.get(name, (None, 0.0))
        if column not in wanted or column is None:
            continue
        if column in values:
            wrong.append(f"'{values[column].name}' and '{names[at]}' are both a {name.partition('_')[0]}")
        values.setdefault(column, Place(at, names[at], factor))
    if not values:
        wrong.append(_no_values(names, plain, wanted))
    if wrong:
        expected = " or ".join(f"layer,candidate,{column.name}" for column in wanted)
        reason = f"the header is '{','.join(names)}', expected {expected}: {'; '.join(wrong)}."
        raise FileFormatError(path, f"line {number}", reason)
    used = {plain.index(LAYER), plain.index(CANDIDATE), *(place.at for place in values.values())}
    others = tuple(name or f"the nameless column {at + 1}" for at, name in enumerate(names) if at not in used)
    return Header(len(names), plain.index(LAYER), plain.index(CANDIDATE), values, others)


def _no_values(names: Sequence[str], plain: Sequence[str], wanted: Sequence[Column]) -> str:
    """What is said where no column of values is there: which one lacks its unit, or what there could be."""
    for at, name in enumerate(plain):
        column = _WITHOUT_UNIT.get(name) or _WITHOUT_UNIT.get(name.partition("_")[0])
        if column in wanted:
            return f"'{names[at]}' has no unit that is known, write {_known(column)}"
    return f"it lacks {' or '.join(_known(column) for column in wanted)}"


def _known(column: Column | None) -> str:
    return ", ".join(name for name, (one, _) in _UNITS.items() if one is column)


def _plain(name: str) -> str:
    """A name in lower case, words joined by underscores, micro as u."""
    lowered = name.lower().replace("\u00b5", "u").replace("\u03bc", "u")
    return re.sub(r"[^a-z0-9]+", "_", lowered).strip("_")
