"""Fronts as a plot of characters: latency to the right, loss upwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        for row in range(_HEIGHT):
            label = f"{top if row == 0 else bottom:.2f}" if row in (0, _HEIGHT - 1) else ""
            yield _line(label, [cells.get((row, column)) for column in range(width)])
        ends = f"{low:.3g}", f"{high:.3g} ms"
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
