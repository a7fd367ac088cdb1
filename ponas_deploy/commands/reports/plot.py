"""Fronts and points as plots of characters: latency to the right, loss or top-1 upwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from ponas_deploy.search.frontier import Front, best_within

MARKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
COLOURS = ("dodger_blue2", "medium_orchid", "dark_orange3", "green4", "red3", "turquoise4")
_HEIGHT, _WIDEST, _AXIS = 14, 96, 8


@dataclass(frozen=True, slots=True)
class FrontPlot:
    """Each front as its letter: the least loss (pp) that a latency (ms) buys."""

    fronts: tuple[Front, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As wide as the terminal, up to a readable width."""
        width = min(options.max_width, _WIDEST) - _AXIS
        low, high = min(f.cost[0] for f in self.fronts), max(f.cost[-1] for f in self.fronts)
        top, bottom = max(f.loss[0] for f in self.fronts), min(f.loss[-1] for f in self.fronts)
        step = (high - low) / (width - 1) if high > low else 1.0
        cells: dict[tuple[int, int], int] = {}
        for index, front in reversed(list(enumerate(self.fronts))):
            for column in range(width):
                point = best_within(front, low + column * step)
                if point is not None and top > bottom:
                    share = (float(front.loss[point]) - bottom) / (top - bottom)
                    cells[round((1 - share) * (_HEIGHT - 1)), column] = index
        yield Text("loss pp", style="dim")
        yield from _grid(cells, width, (low, high), (top, bottom))


@dataclass(frozen=True, slots=True)
class PointPlot:
    """Points (ms, value, kind) as the letters of their kinds, the greatest value on top; ms logarithmic."""

    points: tuple[tuple[float, float, int], ...]
    title: str
    kinds: tuple[str, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As wide as the terminal, up to a readable width."""
        width = min(options.max_width, _WIDEST) - _AXIS
        times, values = [one[0] for one in self.points], [one[1] for one in self.points]
        (low, high), (bottom, top) = (min(times), max(times)), (min(values), max(values))
        cells = {
            (_steps(top - value, top - bottom, _HEIGHT), _steps(log(ms / low), log(high / low), width)): kind
            for ms, value, kind in self.points
        }
        names = ", ".join(f"{MARKS[kind]} {name}" for kind, name in enumerate(self.kinds))
        yield Text(f"{self.title}: {names}", style="dim")
        yield from _grid(cells, width, (low, high), (top, bottom))


def _steps(value: float, most: float, steps: int) -> int:
    """Where a value from 0 to `most` lies among so many places."""
    return round(value / most * (steps - 1)) if most > 0 else 0


def _grid(
    cells: Mapping[tuple[int, int], int], width: int, times: tuple[float, float], values: tuple[float, float]
) -> Iterator[Text]:
    """The rows with marks, the first and the last with their value, and the axis of latencies below."""
    for row in range(_HEIGHT):
        label = f"{values[0 if row == 0 else 1]:.2f}" if row in (0, _HEIGHT - 1) else ""
        yield _line(label, [cells.get((row, column)) for column in range(width)])
    ends = f"{times[0]:.3g}", f"{times[1]:.3g} ms"
    axis = f"{ends[0]}{ends[1]:>{max(width - len(ends[0]), len(ends[1]) + 1)}}"
    yield Text(" " * _AXIS + axis, style="dim", no_wrap=True)


def _line(label: str, marks: Sequence[int | None]) -> Text:
    line = Text(f"{label:>{_AXIS - 2}} ", style="dim", no_wrap=True)
    line.append("│")
    for mark in marks:
        if mark is None:
            line.append(" ", style="not dim")
        else:
            line.append(MARKS[mark % len(MARKS)], style=f"not dim {COLOURS[mark % len(COLOURS)]}")
    return line
