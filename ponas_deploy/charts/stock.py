"""Networks with a measured latency and a top-1, to stand beside fronts: of `ponas compare --json`, or a CSV.

    network,latency_ms,top1_pct
    mobilenetv3_large_100,2.78,75.77

A CSV may have more columns, in any order. It says nothing of the device, so the report says that it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from ponas_deploy.engines.compared import Kind, Place
from ponas_deploy.engines.comparison_document import (
    ComparisonDocument,
    ComparisonsDocument,
    MeasuredNetwork,
)
from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.documents import converted, parse
from ponas_deploy.files.opening import read_text
from ponas_deploy.tables.csv_import import read_lines
from ponas_deploy.tables.latency import Conditions

NAME, LATENCY, TOP1 = "network", "latency_ms", "top1_pct"
_KINDS: dict[Kind, str] = {"stock": "stock network", "own": "model of yours", "space": "specialised network"}
_KNOWN = {"published": "published", "given": "given by you", "predicted": "predicted"}


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """A network that was measured: ms, top-1 in percent (None where nobody knows it), and what it is.

    `kind` groups networks in a legend. `noise_pct` is how far its processes lie apart, None where the file
    does not say it; `top1_is` says how the top-1 is known. `front` is its place among those it was compared
    with.
    """

    name: str
    kind: str
    latency_ms: float
    top1_pct: float | None
    top1_is: str
    noise_pct: float | None = None
    resolution_px: int | None = None
    choices: tuple[str, ...] = ()
    front: Place = "unknown"


@dataclass(frozen=True, slots=True)
class ComparedNetworks:
    """Networks of one comparison, or of a CSV; `conditions` are None where the file does not say them."""

    path: Path
    conditions: Conditions | None
    networks: tuple[MeasuredPoint, ...]
    noise_floor_pct: float | None = None
    notes: tuple[str, ...] = ()


def read_compared(path: Path) -> tuple[ComparedNetworks, ...]:
    """The comparisons of a file, one for each runtime and precision; FileFormatError says what is wrong.

    JSON is what `ponas compare --device cpu --json` prints.
    """
    text = read_text(path)
    if not text.lstrip().startswith("{"):
        return (ComparedNetworks(path, None, tuple(_of_csv(path))),)
    data = parse(text, path)
    if isinstance(data, dict) and "comparisons" not in data:
        printed = "what `ponas compare --device cpu --json` prints, or a CSV with network,latency_ms,top1_pct"
        raise FileFormatError(path, "comparisons", f"is missing: expected {printed}.")
    found = converted(data, ComparisonsDocument, path)
    return tuple(_of_comparison(path, one) for one in found.comparisons)


def _of_comparison(path: Path, one: ComparisonDocument) -> ComparedNetworks:
    notes = tuple(filter(None, (one.summary, *one.warnings, one.disturbed, *one.left_out)))
    networks = tuple(map(_point, one.networks))
    return ComparedNetworks(path, one.device, networks, one.noise_floor_pct, notes)


def _point(one: MeasuredNetwork) -> MeasuredPoint:
    top1 = one.top1
    known = ", ".join(filter(None, (_KNOWN[top1.known], top1.of))) if top1 else ""
    return MeasuredPoint(
        one.name,
        _KINDS[one.kind],
        one.measured_ms,
        top1.pct if top1 else None,
        known,
        one.noise_pct,
        one.resolution_px,
        one.choices,
        one.front,
    )


def _of_csv(path: Path) -> Iterator[MeasuredPoint]:
    lines = read_lines(path)
    number, header = lines[0]
    names = [name.strip().lower() for name in header]
    if missing := [name for name in (NAME, LATENCY, TOP1) if name not in names]:
        reason = (
            f"the header is '{','.join(header)}', expected {NAME},{LATENCY},{TOP1}: it lacks {missing[0]}."
        )
        raise FileFormatError(path, f"line {number}", reason)
    if len(lines) == 1:
        raise FileFormatError(path, f"line {number}", "is the header, and no network follows.")
    for line, row in lines[1:]:
        if len(row) != len(names):
            raise FileFormatError(
                path, f"line {line}", f"has {len(row)} fields, the header has {len(names)}."
            )
        fields = dict(zip(names, map(str.strip, row), strict=True))
        latency_ms = _number(path, line, LATENCY, fields[LATENCY])
        if latency_ms is None or latency_ms <= 0:
            raise FileFormatError(path, f"line {line}, {LATENCY}", "is not above zero.")
        top1_pct = _number(path, line, TOP1, fields[TOP1])
        if top1_pct is not None and not 0 <= top1_pct <= 100:
            raise FileFormatError(path, f"line {line}, {TOP1}", f"is {top1_pct:g}, expected 0 to 100.")
        yield MeasuredPoint(fields[NAME], _KINDS["stock"], latency_ms, top1_pct, f"said by {path.name}")


def _number(path: Path, line: int, column: str, text: str) -> float | None:
    """A number of a CSV, None where the field is empty or a dash."""
    if text in ("", "-"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise FileFormatError(path, f"line {line}, {column}", f"is '{text}', expected a number.")
    return value


def beside(
    compared: Sequence[ComparedNetworks], tables: Sequence[Conditions | None]
) -> tuple[tuple[ComparedNetworks, ...], tuple[str, ...]]:
    """The comparisons to draw beside fronts of these conditions, and what is to be said of them.

    Of several in a file those whose conditions a table has; all of them where none fits.
    """
    fitting = [one for one in compared if one.conditions is not None and one.conditions in tables]
    kept = [one for one in compared if one.conditions is None or one in fitting or not fitting]
    notes = []
    for one in kept:
        if one.conditions is None:
            notes.append(f"{one.path.name} does not say on which device its latencies were measured.")
        elif one not in fitting:
            notes.append(
                f"The networks of {one.path.name} were measured on {one.conditions.text}, which no latency"
                " table here is of: their latencies cannot be compared with the fronts."
            )
    dropped = [one.conditions.text for one in compared if one.conditions and one not in kept]
    if dropped:
        notes.append(f"Comparisons under other conditions are not drawn: {'; '.join(dropped)}.")
    return tuple(kept), tuple(notes)
