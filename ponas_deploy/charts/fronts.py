"""The chart of fronts: what a latency buys on each device, with measured networks beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ponas_deploy.charts.chart import (
    DESCRIPTION,
    INK,
    PAPER,
    Axis,
    Cell,
    Chart,
    Spec,
    framed,
    legend,
    mark,
    number,
    series_scales,
)
from ponas_deploy.charts.stock import ComparedNetworks, MeasuredPoint
from ponas_deploy.search.comparison import NamedFront, Predict, thinned_warnings
from ponas_deploy.search.pareto import FrontPoint, ParetoFront
from ponas_deploy.tables.grid import Grid

MOST_POINTS = 500
"""Points of one front that are drawn; more would lie on one another."""
_COLUMNS = ("of", "network", "latency (ms)", "latency is")
_HEIGHT, _NARROW = 420, 600


@dataclass(frozen=True, slots=True)
class EnginePoint:
    """An engine that was measured: its folder, p50 in ms, its height on the chart, and what it is."""

    folder: Path
    latency_ms: float
    y: float
    y_is: str
    about: str


@dataclass(frozen=True, slots=True)
class _Point:
    """A network on the chart: its series, place, and the row of numbers behind it."""

    series: str
    ms: float
    y: float
    row: tuple[Cell, ...]
    label: str = ""


def front_chart(
    key: str,
    space: str,
    fronts: Sequence[NamedFront],
    grids: Sequence[Grid],
    predict: Predict,
    compared: Sequence[ComparedNetworks] = (),
    engine: EnginePoint | None = None,
    notes: Sequence[str] = (),
) -> Chart:
    """Fronts of latency tables of one space, each with its table's grid; `predict` as of `comparable`."""
    top1 = predict(0.0)
    axis = "top-1 (%)" if top1 else "loss (percentage points)"
    points, said = [], [*thinned_warnings(fronts), *notes]
    for named, grid in zip(fronts, grids, strict=True):
        drawn = _drawn(ParetoFront.of(named.front, grid).points)
        if len(drawn) < len(named.front.cost):
            said.append(
                f"{named.name}: {len(drawn)} of the {len(named.front.cost):,} networks of its front are"
                " drawn; `ponas pareto --json` lists all."
            )
        points += [_of_front(named, point, predict) for point in drawn]
    names = [named.name for named in fronts]
    if compared and top1:
        points += [_of_network(one, where) for where in compared for one in where.networks if one.top1_pct]
    if engine:
        points.append(_of_engine(engine))
    others = list(dict.fromkeys(point.series for point in points if point.series not in names))
    if top1:
        said.append(f"Top-1 of the fronts is predicted: {top1.of}.")
    columns = (*_COLUMNS, axis, "top-1 is" if top1 else "loss is", "input (px)", "candidates, layer by layer")
    return Chart(
        key,
        f"Fronts of {space}",
        _summary(fronts, predict, points, others),
        columns,
        tuple(point.row for point in points),
        lambda width: _drawing(width, points, names, others, axis),
        tuple(said),
    )


def _drawn(points: Sequence[FrontPoint]) -> list[FrontPoint]:
    """At most `MOST_POINTS` of a front, both ends among them."""
    places = np.unique(np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).round().astype(int))
    return [points[place] for place in places]


def _of_front(named: NamedFront, point: FrontPoint, predict: Predict) -> _Point:
    y, how = _height(point.loss_pp, predict)
    row = (
        named.name,
        "of the front",
        point.latency_ms,
        "predicted",
        y,
        how,
        named.resolution,
        ",".join(point.choices),
    )
    return _Point(named.name, point.latency_ms, y, row)


def _height(loss_pp: float, predict: Predict) -> tuple[float, str]:
    top1 = predict(loss_pp)
    if top1 is None:
        return loss_pp, "summed losses of a table"
    return top1.pct, f"predicted{', ' + top1.beyond if top1.beyond else ''}"


def _of_network(one: MeasuredPoint, where: ComparedNetworks) -> _Point:
    noise = f", its processes {one.noise_pct:.1f} % apart" if one.noise_pct is not None else ""
    row = (
        where.conditions.text if where.conditions else where.path.name,
        one.name,
        one.latency_ms,
        f"measured{noise}",
        one.top1_pct,
        one.top1_is,
        one.resolution_px,
        ",".join(one.choices) or None,
    )
    series = {"stock network": "stock networks", "model of yours": "models of yours"}.get(
        one.kind, "specialised networks, measured"
    )
    label = one.name if one.front in ("on", "unknown") else ""
    return _Point(series, one.latency_ms, one.top1_pct or 0.0, row, label)


def _of_engine(one: EnginePoint) -> _Point:
    row = (one.about, one.folder.name, one.latency_ms, "measured, p50", one.y, one.y_is, None, None)
    return _Point("the engine, measured", one.latency_ms, one.y, row, "engine")


def _summary(
    fronts: Sequence[NamedFront], predict: Predict, points: Sequence[_Point], others: Sequence[str]
) -> str:
    parts = []
    for named in fronts:
        cheap, dear = (_height(float(named.front.loss[end]), predict)[0] for end in (0, -1))
        unit = "% top-1" if predict(0.0) else "points of loss"
        parts.append(
            f"{named.name}: from {number(float(named.front.cost[0]))} ms ({cheap:.2f} {unit}) to"
            f" {number(float(named.front.cost[-1]))} ms ({dear:.2f} {unit})"
        )
    counts = [_counted(sum(point.series == name for point in points), name) for name in others]
    better = "higher is better" if predict(0.0) else "lower is better"
    beside = f" Beside them: {', '.join(counts)}." if counts else ""
    return f"{'; '.join(parts)}. To the left is faster, {better}.{beside}"


def _counted(count: int, name: str) -> str:
    return name if name.startswith("the ") else f"{count} {name}"


def _drawing(
    width: int, points: Sequence[_Point], names: Sequence[str], others: Sequence[str], title: str
) -> Spec:
    x, y = Axis.over([point.ms for point in points]), Axis.over([point.y for point in points], log=False)
    series = [*names, *others]
    colours, shapes = _scales(names, others)
    values = [
        {"ms": point.ms, "y": point.y, "series": point.series, "mark": mark(index)}
        for index, point in enumerate(points)
    ]
    channels: Spec = {
        "x": {
            "field": "ms",
            "type": "quantitative",
            "title": f"latency (ms{', logarithmic' if x.log else ''})",
            "scale": x.scale(),
            "axis": x.axis(width),
        },
        "y": {
            "field": "y",
            "type": "quantitative",
            "title": title,
            "scale": y.scale(),
            "axis": y.axis(int(1.4 * _HEIGHT)),
        },
        "color": {
            "field": "series",
            "type": "nominal",
            "scale": colours,
            "legend": legend(width, series),
            "sort": None,
        },
    }
    shape = {"field": "series", "type": "nominal", "scale": shapes, "legend": legend(width, series)}
    of_fronts = {"filter": {"field": "series", "oneOf": list(names)}}
    beside = {"filter": {"field": "series", "oneOf": list(others)}}
    marked = {**channels, "shape": shape, "description": DESCRIPTION}
    layers: list[Spec] = [
        {
            "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1.2, "opacity": 0.7},
            "transform": [of_fronts],
            "encoding": channels,
        },
        {
            "mark": {"type": "point", "filled": True, "size": 16, "opacity": 0.9},
            "transform": [of_fronts],
            "encoding": marked,
        },
    ]
    if others:
        big = {"type": "point", "filled": True, "size": 90, "opacity": 1, "stroke": PAPER, "strokeWidth": 0.8}
        layers.append({"mark": big, "transform": [beside], "encoding": marked})
        layers += [_label(one, x, y) for one in _placed(points, others, x, y, width)]
    return framed({"width": width, "height": _HEIGHT, "layer": layers}, values)


def _scales(names: Sequence[str], others: Sequence[str]) -> tuple[Spec, Spec]:
    """Fronts in the colours of series, what was measured beside them in ink, each with a shape."""
    colours, shapes = series_scales(names)
    apart = ("diamond", "cross", "triangle-right", "wedge")
    return (
        {"domain": [*names, *others], "range": [*colours["range"], *[INK] * len(others)]},
        {
            "domain": [*names, *others],
            "range": [*shapes["range"], *(apart[index % len(apart)] for index in range(len(others)))],
        },
    )


@dataclass(frozen=True, slots=True)
class _Label:
    """A name beside a point; to the left of it where there is no room to the right."""

    point: _Point
    left: bool


def _placed(
    points: Sequence[_Point], others: Sequence[str], x: Axis, y: Axis, width: int
) -> Iterator[_Label]:
    """Names of measured networks, as far as none lies on another one, or on a point."""
    wide = width - 70
    taken = [
        (x.place(p.ms) * wide - half, y.place(p.y) * _HEIGHT - half, 2.0 * half, 2.0 * half)
        for p in points
        for half in (6 if p.series in others else 2,)
    ]
    for point in points:
        if not point.label or (width < _NARROW and len(point.label) > 24):
            continue
        at_x, at_y, long = x.place(point.ms) * wide, y.place(point.y) * _HEIGHT, 6.2 * len(point.label)
        for left in (False, True):
            start = at_x - 9 - long if left else at_x + 9
            box = (start, at_y - 7, long, 14.0)
            if start < 0 or start + long > wide or any(_overlap(box, other) for other in taken):
                continue
            taken.append(box)
            yield _Label(point, left)
            break


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    apart = (
        one[0] + one[2] <= other[0]
        or other[0] + other[2] <= one[0]
        or one[1] + one[3] <= other[1]
        or other[1] + other[3] <= one[1]
    )
    return not apart


def _label(one: _Label, x: Axis, y: Axis) -> Spec:
    looks = {"align": "right" if one.left else "left", "dx": -9 if one.left else 9, "baseline": "middle"}
    return {
        "data": {"values": [{"ms": one.point.ms, "y": one.point.y, "text": one.point.label}]},
        "mark": {"type": "text", "fontSize": 11, "color": INK, **looks},
        "encoding": {
            "x": {"field": "ms", "type": "quantitative", "scale": x.scale()},
            "y": {"field": "y", "type": "quantitative", "scale": y.scale()},
            "text": {"field": "text", "type": "nominal"},
        },
    }
