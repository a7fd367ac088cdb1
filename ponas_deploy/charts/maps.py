"""Maps of layers x candidates: what each costs, and what each loses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan, log
from statistics import median

from ponas_deploy.charts.chart import (
    DESCRIPTION,
    ON_DARK,
    ON_LIGHT,
    Axis,
    Cell,
    Chart,
    Spec,
    framed,
    mark,
    number,
)
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable

_ROW = 19


def latency_map(key: str, name: str, table: LatencyTable) -> Chart:
    """What each candidate of each layer takes by a latency table."""
    grid = table.grid
    micro = _median(grid) < 1
    unit, scale = ("µs", 1e3) if micro else ("ms", 1.0)
    scaled = tuple(tuple(value * scale for value in row) for row in grid.values)
    bounds = _flat(table.intervals_ms, grid)
    rows = []
    for (layer, label, value), interval in zip(_cells(grid, scaled), bounds, strict=True):
        text = f"{number(interval[0] * scale)} to {number(interval[1] * scale)}" if interval else None
        rows.append((layer, label, value, text))
    low, high = grid.extremes
    what = "Estimated latency" if table.estimated else "Latency"
    fixed = f"; {number(grid.fixed)} ms more for stem and head" if grid.fixed else ""
    corrected = "Values are corrected on whole networks." if table.correction else ""
    return Chart(
        key,
        f"{what} of each candidate: {name}",
        f"{what} by layer and candidate, in {unit}{fixed}. Networks take {number(low)} to {number(high)} ms.",
        ("layer", "candidate", f"latency ({unit})", f"95 % interval ({unit})"),
        tuple(rows),
        lambda width: _drawing(width, grid, scaled, f"latency ({unit})", _log_heat(scaled), _plain(scaled)),
        tuple(filter(None, (table.estimated, corrected))),
    )


def loss_map(key: str, name: str, table: AccuracyTable) -> Chart:
    """What each candidate of each layer loses to the best of its layer by an accuracy table."""
    grid = table.loss
    ties = [tie for row in table.ties for tie in row]
    tops = [top1 for row in table.top1.values for top1 in row] if table.top1 else [None] * len(ties)
    rows: list[tuple[Cell, ...]] = []
    for (layer, label, loss), tie, top1 in zip(_cells(grid, grid.values), ties, tops, strict=True):
        said = "best of its layer" if loss == 0 else "a tie with the best" if tie else None
        rows.append((layer, label, loss, top1, said))
    made = f": {table.origin.text}" if table.origin else ""
    tied = sum(ties)
    equal = f" {tied} candidates lose less than the noise of the evaluation." if tied else ""
    flat = [loss for row in grid.values for loss in row if not isnan(loss)]
    return Chart(
        key,
        f"Accuracy lost by each candidate: {name}",
        f"Loss in percentage points of top-1 to the best candidate of the layer{made}. The dearest candidate"
        f" loses {max(flat):.2f} points.{equal}",
        ("layer", "candidate", "loss (percentage points)", "top-1 (%)", "note"),
        tuple(rows),
        lambda width: _drawing(
            width, grid, grid.values, "loss (percentage points)", _root_heat(flat), "{:.2f}".format
        ),
    )


def _cells(grid: Grid, values: Sequence[Sequence[float]]) -> list[tuple[str, str, float]]:
    return [
        (layer, label, value)
        for layer, labels, row in zip(grid.layers, grid.candidates, values, strict=True)
        for label, value in zip(labels, row, strict=True)
    ]


def _flat(intervals: Sequence[Sequence[tuple[float, float]]], grid: Grid) -> list[tuple[float, float] | None]:
    if not intervals:
        return [None] * sum(map(len, grid.values))
    return [interval for row in intervals for interval in row]


def _median(grid: Grid) -> float:
    flat = [value for row in grid.values for value in row if value > 0]
    return median(flat) if flat else 0.0


def _log_heat(values: Sequence[Sequence[float]]) -> Spec:
    positive = [value for row in values for value in row if value > 0] or [1.0]
    low, high = min(positive), max(positive)
    return {"type": "log", "domain": [low, high if high > low else 2 * low]}


def _root_heat(values: Sequence[float]) -> Spec:
    return {"type": "sqrt", "domain": [0, max(values) or 1.0]}


def _heat(value: float, scale: Spec) -> float:
    """Where a value lies on a scale of colours, from 0 to 1."""
    low, high = scale["domain"]
    if scale["type"] == "log":
        return log(max(value, low) / low) / log(high / low)
    return float(((value - low) / (high - low)) ** 0.5)


def _plain(values: Sequence[Sequence[float]]) -> Callable[[float], str]:
    """One number of decimals for all cells, three digits of a usual one."""
    sizes = [value for row in values for value in row if value > 0]
    usual = median(sizes) if sizes else 1.0
    decimals = 0 if usual >= 100 else 1 if usual >= 10 else 2
    return lambda value: f"{value:.{decimals}f}"


def _drawing(
    width: int,
    grid: Grid,
    values: Sequence[Sequence[float]],
    title: str,
    scale: Spec,
    write: Callable[[float], str],
) -> Spec:
    columns = list(dict.fromkeys(label for labels in grid.candidates for label in labels))
    names = min(max(map(len, grid.layers)), 16) * 7 + 18
    cell = max(8, (width - names - 12) // len(columns))
    texts = [write(value) for row in values for value in row if not isnan(value)]
    longest_text = max(map(len, texts), default=0)
    size = next((size for size in (10, 9, 8) if longest_text * 0.58 * size <= cell - 4), 0)
    low, log = scale["domain"][0], scale["type"] == "log"
    data: list[Spec] = []
    for index, (layer, label, value) in enumerate(_cells(grid, values)):
        known = not isnan(value)
        dark = not known or _heat(value, scale) < 0.55
        data.append(
            {
                "layer": layer,
                "candidate": label,
                "value": (max(value, low) if log else value) if known else None,
                "text": write(value) if known else "?",
                "dark": dark,
                "mark": mark(index),
            }
        )
    longest = max(map(len, columns))
    upright = longest * 6.4 > cell
    x = {
        "field": "candidate",
        "type": "ordinal",
        "sort": columns,
        "title": "candidate",
        "axis": {
            "orient": "top",
            "labelAngle": -90 if upright else 0,
            "labelLimit": 120,
            "ticks": False,
            "domain": False,
            "labelOverlap": False,
        },
        "scale": {"paddingInner": 0.04, "paddingOuter": 0},
    }
    y = {
        "field": "layer",
        "type": "ordinal",
        "sort": list(grid.layers),
        "title": "layer",
        "axis": {"labelLimit": 120, "ticks": False, "domain": False, "labelOverlap": False},
        "scale": {"paddingInner": 0.06, "paddingOuter": 0},
    }
    ticks: Spec = (
        {"values": Axis(scale["domain"][0], scale["domain"][1], True).ticks(4)} if log else {"tickCount": 4}
    )
    colour = {
        "field": "value",
        "type": "quantitative",
        "scale": {**scale, "scheme": "cividis"},
        "legend": {
            "orient": "bottom",
            "direction": "horizontal",
            "title": title,
            "gradientLength": min(260, width - 80),
            "gradientThickness": 10,
            "titleOrient": "top",
            "format": ".6~g",
            **ticks,
        },
    }
    layers: list[Spec] = [
        {
            "mark": {"type": "rect"},
            "encoding": {"x": x, "y": y, "color": colour, "description": DESCRIPTION},
        }
    ]
    if size:
        ink = {"condition": {"test": "datum.dark", "value": ON_DARK}, "value": ON_LIGHT}
        layers.append(
            {
                "mark": {"type": "text", "fontSize": size, "baseline": "middle"},
                "encoding": {
                    "x": x,
                    "y": y,
                    "text": {"field": "text", "type": "nominal"},
                    "color": ink,
                },
            }
        )
    sizes = {"width": cell * len(columns), "height": _ROW * len(grid.layers)}
    spec = framed({**sizes, "layer": layers, "resolve": {"scale": {"color": "independent"}}}, data)
    return {**spec, "autosize": {"type": "pad"}, "config": {**spec["config"], "mark": {"invalid": "filter"}}}
