"""A grid of numbers as a heat map, one line a layer, that fits the terminal it is printed on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, isfinite, isnan, log10
from statistics import median

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from ponas_deploy.commands.reports.style import PLAIN

# Dark text on these reads alike on dark and light terminals. From ColorBrewer's RdYlGn, good to bad.
_PALETTE = (
    "#7fbf7b", "#a6d96a", "#c4e687", "#e6f5a8", "#ffffbf", "#fee79b", "#fdcb7b", "#fdae61", "#f98e63",
)  # fmt: skip
_HEADER, _BROKEN = "bold", "bold white on red"
_GAP = 1


@dataclass(frozen=True, slots=True)
class HeatGrid:
    """A grid of numbers, (layers, candidates), each with a heat from 0 (good) to 1 (bad).

    `marks` is what stands behind a number, at most one character. A row's candidates are its own; the
    columns are all labels in order of first appearance.
    """

    layers: tuple[str, ...]
    candidates: tuple[tuple[str, ...], ...]
    values: tuple[tuple[float, ...], ...]
    heat: Callable[[float], float]
    write: Callable[[float], str]
    marks: tuple[tuple[str, ...], ...] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As many columns side by side as fit, the rest below."""
        cells = self._cells()
        columns = list(dict.fromkeys(label for row in self.candidates for label in row))
        names = max(len("layer"), *(len(layer) for layer in self.layers))
        number = max(cell.cell_len for row in cells for cell in row.values())
        width = _column_width(columns, number, options.max_width - names)
        fitting = max(1, (options.max_width - names) // (width + _GAP))
        blocks = -(-len(columns) // fitting)
        size = -(-len(columns) // blocks)
        for start in range(0, len(columns), size):
            if start:
                yield Text("")
            yield from self._block(cells, columns[start : start + size], names, width)

    def _block(
        self, cells: Sequence[dict[str, Text]], columns: Sequence[str], names: int, width: int
    ) -> Iterator[Text]:
        folded = [_fold(label, width) for label in columns]
        for line in range(max(map(len, folded))):
            head = f"{'layer' if line == 0 else '':<{names}}"
            parts = [f"{label[line] if line < len(label) else '':>{width + _GAP}}" for label in folded]
            yield Text((head + "".join(parts)).rstrip(), style=_HEADER, no_wrap=True)
        for layer, row in zip(self.layers, cells, strict=True):
            text = Text(f"{layer:<{names}}", no_wrap=True)
            for label in columns:
                cell = row.get(label, Text(""))
                text.append(" " * (width + _GAP - cell.cell_len), style=cell.style)
                text.append_text(cell)
            yield text

    def _cells(self) -> list[dict[str, Text]]:
        marks = self.marks or tuple(("",) * len(row) for row in self.values)
        width = max((len(mark) for row in marks for mark in row), default=0)
        return [
            {label: self._cell(value, f"{mark:<{width}}") for label, value, mark in zip(*row, strict=True)}
            for row in zip(self.candidates, self.values, marks, strict=True)
        ]

    def _cell(self, value: float, mark: str) -> Text:
        if isnan(value):
            return Text("?" + mark, style=_BROKEN)
        heat = self.heat(value)
        level = min(max(heat, 0.0), 1.0) if isfinite(heat) else 1.0
        style = f"black on {_PALETTE[round(level * (len(_PALETTE) - 1))]}"
        return Text(self.write(value) + mark, style=f"bold {style}" if mark.strip() else style)


def log_heat(values: Sequence[float]) -> Callable[[float], float]:
    """Heat on a log scale, from the smallest value to the largest."""
    positive = [value for value in values if value > 0 and isfinite(value)] or [1.0]
    low, high = log10(min(positive)), log10(max(positive))
    return lambda value: (log10(value) - low) / (high - low) if value > 0 and high > low else 0.0


def linear_heat(low: float, high: float) -> Callable[[float], float]:
    """Heat on a linear scale; `low` may be the larger one."""
    return lambda value: (value - low) / (high - low) if high != low else 0.0


def fixed_digits(values: Sequence[float], significant: int = 3) -> Callable[[float], str]:
    """One number of decimals for all, so that the middle value has so many significant digits."""
    sizes = [min(abs(value), PLAIN) for value in values if value and not isnan(value)] or [1.0]
    decimals = max(0, significant - 1 - floor(log10(median(sizes))))
    return lambda value: f"{value:.{decimals}f}" if abs(value) < PLAIN else f"{value:.{significant}g}"


def _column_width(labels: Sequence[str], number: int, room: int) -> int:
    """Wide enough for the labels; where that does not fit, for the numbers, the labels folded."""
    whole = max(number, *(len(label) for label in labels))
    return whole if len(labels) * (whole + _GAP) <= room else max(number, 4)


def _fold(label: str, width: int) -> list[str]:
    """A label in lines of `width`, broken where letters follow digits (`k7e6`, `se`) or else anywhere."""
    lines = [""]
    for part in re.findall(r"[^0-9]*[0-9]+|[^0-9]+", label):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return [line[at : at + width] for line in lines for at in range(0, len(line), width)]
