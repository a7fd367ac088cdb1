"""A chart as a value: its numbers, what it says in words, and how it is drawn at a width.

Drawings are Vega-Lite (Satyanarayan et al., IEEE TVCG 23, 2017), which is plain JSON. Colours are Okabe and
Ito's, which people of any colour vision tell apart ("Color Universal Design", 2008), and every series has a
shape of its own beside its colour. Maps are in cividis (Nunez, Anderton and Renslow, PLoS ONE 13, 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import floor, isfinite, log10
from typing import Any, TypeAlias

Spec: TypeAlias = dict[str, Any]
"""A Vega-Lite specification."""
Cell: TypeAlias = str | float | int | None
"""A value in a chart's table of numbers; None where there is none."""

INK, FAINT, GRID, PAPER, BAND = "#1b1f24", "#57606a", "#d8dee4", "#ffffff", "#b8c0c8"
"""Colours of text, of less important text, of lines behind the marks, of the background, of noise."""
ON_DARK, ON_LIGHT = "#fdfdfd", "#101010"
"""Text on the cells of a map: the same in light and dark."""
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
FONT = "sans-serif"
_LOG_FROM = 4.0
"""A range whose ends differ by this factor or more is drawn on a log axis."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of numbers.

    `rows` are the numbers behind it, one value a column, whose names hold the units; row i is what the
    i-th mark shows. `draw` makes the drawing at a width in pixels. `notes` say what to know about it.
    """

    key: str
    title: str
    summary: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...] = field(repr=False)
    draw: Callable[[int], Spec] = field(repr=False)
    notes: tuple[str, ...] = ()


def mark(index: int) -> str:
    """The description of the mark that shows row `index`: how the page finds the row."""
    return f"#{index}"


DESCRIPTION: Spec = {"field": "mark", "type": "nominal"}
"""The channel that gives a mark its description."""


def framed(parts: Spec, values: Sequence[Spec]) -> Spec:
    """A specification with its data and the looks that all charts share."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": PAPER,
        "padding": 4,
        "autosize": {"type": "fit", "contains": "padding"} if "width" in parts else {"type": "pad"},
        "data": {"values": list(values)},
        **parts,
        "config": {
            "font": FONT,
            "view": {"stroke": None},
            "axis": {
                "labelColor": FAINT,
                "titleColor": INK,
                "gridColor": GRID,
                "domainColor": FAINT,
                "tickColor": FAINT,
                "labelFontSize": 11,
                "titleFontSize": 12,
                "titleFontWeight": "normal",
                "titlePadding": 8,
            },
            "legend": {
                "labelColor": INK,
                "titleColor": INK,
                "labelFontSize": 12,
                "titleFontSize": 12,
                "titleFontWeight": "normal",
                "symbolSize": 90,
            },
            "title": {
                "color": INK,
                "fontSize": 15,
                "anchor": "start",
                "offset": 14,
                "subtitleColor": FAINT,
                "subtitleFontSize": 12,
                "subtitlePadding": 6,
            },
        },
    }


@dataclass(frozen=True, slots=True)
class Axis:
    """A numeric axis: its ends, and whether it is logarithmic."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def over(cls, values: Sequence[float], *, log: bool | None = None) -> Axis:
        """An axis that holds all values with room at both ends; `log` is as suits where it is None."""
        low, high = min(values), max(values)
        if log is None:
            log = low > 0 and high / low >= _LOG_FROM
        if log:
            room = (high / low) ** 0.04 if high > low else 1.05
            return cls(low / room, high * room, True)
        room = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
        return cls(low - room, high + room)

    def scale(self) -> Spec:
        """The scale of a channel."""
        kind = {"type": "log", "base": 10} if self.log else {"type": "linear", "zero": False}
        return {**kind, "domain": [self.low, self.high], "nice": False}

    def axis(self, width: int) -> Spec:
        """Ticks and labels for so many pixels."""
        if not self.log:
            return {"tickCount": max(3, width // 70), "format": ".6~g", "labelOverlap": True}
        return {"values": self.ticks(max(3, width // 60)), "format": ".6~g", "labelOverlap": True}

    def ticks(self, most: int) -> list[float]:
        """Round numbers on a log axis, at most so many where fewer will do."""
        decades = range(floor(log10(self.low)), floor(log10(self.high)) + 1)
        found: list[float] = []
        for steps in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5, 7), (1, 2, 5), (1,)):
            ticks = [float(f"{step * 10.0**exponent:.12g}") for exponent in decades for step in steps]
            found = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(found) <= most:
                return found
        return found

    def place(self, value: float) -> float:
        """Where a value lies between the ends, from 0 to 1."""
        if self.log:
            return (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return (value - self.low) / (self.high - self.low)


def series_scales(names: Sequence[str]) -> tuple[Spec, Spec]:
    """The scales of colour and of shape for series in their order."""
    colours = [SERIES[index % len(SERIES)] for index in range(len(names))]
    shapes = [SHAPES[index % len(SHAPES)] for index in range(len(names))]
    return {"domain": list(names), "range": colours}, {"domain": list(names), "range": shapes}


def legend(width: int, names: Sequence[str]) -> Spec:
    """A legend above a chart that keeps to its width."""
    longest = 8 * max(map(len, names)) + 40
    return {
        "orient": "top",
        "title": None,
        "columns": max(1, min(len(names), width // longest)),
        "labelLimit": width - 40,
        "offset": 6,
        "columnPadding": 30,
    }


def number(value: Cell) -> str:
    """A cell for people: four significant digits, thousands apart; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    if not isfinite(value):
        return "?"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"
