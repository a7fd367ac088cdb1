"""Latency tables as other projects write them: which is which, and FBNet's and PaddleSlim's.

- once-for-all and ProxylessNAS, YAML: one entry a shape of a block (`once_for_all.py`).
- FBNet's lookup table, text: the names of the operations, then a line a layer with their microseconds.
- PaddleSlim's, text: single operators, `conv2d,...` and a latency behind a tab. It knows no layers, so no
  table can be made of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.kinds import ONCE_FOR_ALL, OtherKind, other_kind, refuse_other_kind
from ponas_deploy.files.opening import HEAD_BYTES, MIB, first_line, read_head, read_text
from ponas_deploy.files.records import Faults
from ponas_deploy.tables.cells import LATENCY_MS, RawCell, arranged, grid_of
from ponas_deploy.tables.grid import Grid

Source: TypeAlias = Literal["once-for-all", "fbnet"]
MOST_TEXT_BYTES = 16 * MIB
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_NUMBERS = re.compile(rf"{_NUMBER}(?:[ \t]+{_NUMBER})*", re.I | re.A)
_NAMES = re.compile(r"[A-Za-z_]\S*(?:[ \t]+[A-Za-z_]\S*)*")
_OPERATOR = re.compile(rf"^[a-z_]\w*,[^\t\n]*\t\s*{_NUMBER}\s*$", re.I | re.A | re.M)
_FBNET = OtherKind(
    "FBNet's lookup table", "`ponas table import {path} --out TABLE.json` makes a table of it."
)
_PADDLE = OtherKind(
    "PaddleSlim's latency table",
    "it holds single operators, and not which of them make up a candidate of a layer. Add up the operators of"
    " each candidate in a CSV with the columns layer,candidate,latency_ms.",
)


def refuse_foreign(path: Path, expected: str) -> None:
    """FileFormatError for FBNet's and PaddleSlim's tables where something else is asked for."""
    if reason := foreign_reason(path, expected):
        raise FileFormatError(path, "", reason)


def foreign_reason(path: Path, expected: str) -> str:
    """What is said of FBNet's and PaddleSlim's tables where something else is asked for; else empty."""
    kind = _kind_of_text(path)
    return kind.refusal(path, expected) if kind else ""


def source_of(path: Path) -> Source:
    """Whose table a file is; FileFormatError for what is none that can be imported, a table of ours too."""
    told, kind = other_kind(path), _kind_of_text(path)
    if told is ONCE_FOR_ALL or path.suffix.lower() in (".yaml", ".yml"):
        return "once-for-all"
    if kind is _FBNET:
        return "fbnet"
    expected = "table that can be imported"
    refuse_other_kind(path, expected)
    if kind is not None:
        raise FileFormatError(path, "", kind.refusal(path, expected))
    raise FileFormatError(
        path,
        "",
        "is no table that is imported: those of once-for-all (YAML) and FBNet (text) are. CSV and JSON are"
        f" read by every command as they are: `ponas table check {path}`.",
    )


def _kind_of_text(path: Path) -> OtherKind | None:
    text = read_head(path, HEAD_BYTES).decode("utf-8-sig", "replace")
    if _OPERATOR.search(text):
        return _PADDLE
    names = first_line(path)
    rest = text.partition(names)[2].split("\n")[1:-1] if names else []
    is_lines = _NAMES.fullmatch(names) and rest and all(_NUMBERS.fullmatch(line.strip()) for line in rest)
    return _FBNET if is_lines else None


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that is not blank: its number in the file, and its words."""

    number: int
    words: list[str]


def fbnet_grid(path: Path) -> Grid:
    """FBNet's lookup table in milliseconds: layers `1`, `2`, ... in its order, operations as candidates.

    FileFormatError names the line of what is no number of microseconds from 0 on, or is missing.
    """
    lines = [
        _Line(number, words)
        for number, line in enumerate(read_text(path, MOST_TEXT_BYTES).splitlines(), start=1)
        if (words := line.split())
    ]
    faults = Faults()
    rows = arranged(path, _fbnet_cells(path, lines, faults), faults)
    grid = grid_of(path, rows, LATENCY_MS, 0.0, faults)
    faults.refuse()
    return grid


def _fbnet_cells(path: Path, lines: list[_Line], faults: Faults) -> Iterator[RawCell]:
    names = lines[0].words
    for layer, line in enumerate(lines[1:], start=1):
        where = f"line {line.number}"
        if len(line.words) != len(names):
            reason = f"has {len(line.words)} latencies, but the first line names {len(names)} operations."
            faults.add(FileFormatError(path, where, reason))
            continue
        for name, text in zip(names, line.words, strict=True):
            number = re.fullmatch(_NUMBER, text, re.I | re.A)
            value = float(text) / 1000 if number else text
            yield RawCell(where, str(layer), name, {LATENCY_MS.name: value})
