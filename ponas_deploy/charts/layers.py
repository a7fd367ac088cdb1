"""Where the time of a network goes, layer by layer: predicted by a table, or timed by a runtime."""

from __future__ import annotations

from collections.abc import Sequence

from ponas_deploy.charts.chart import DESCRIPTION, INK, SERIES, Chart, Spec, framed, mark, number
from ponas_deploy.tables.grid import Grid

STEM_AND_HEAD = "stem and head"
MOST_BARS = 40
"""Layers of a network that was timed which have a bar of their own: the longest."""
_ROW = 19


def predicted_layers(
    key: str, name: str, grid: Grid, choices: Sequence[str], notes: Sequence[str] = ()
) -> Chart:
    """What each layer of a network takes by a latency table."""
    parts = [
        (f"{layer}: {label}", row[index])
        for layer, label, row, index in zip(
            grid.layers, choices, grid.values, grid.indices(choices), strict=True
        )
    ]
    parts += [(STEM_AND_HEAD, grid.fixed)] if grid.fixed else []
    whole_ms = grid.total(choices)
    longest = max(parts, key=lambda part: part[1])
    summary = (
        f"Predicted by the latency table, {number(whole_ms)} ms together. The longest is {longest[0]}:"
        f" {_share(longest[1], whole_ms)} of it."
    )
    return _bars(key, f"Where the time goes: {name}", summary, "predicted", parts, whole_ms, notes)


def timed_layers(key: str, name: str, timed: Sequence[tuple[str, float]], notes: Sequence[str] = ()) -> Chart:
    """What each layer of a network took by its runtime's own profiler, in its order."""
    whole_ms = sum(ms for _, ms in timed)
    kept = sorted(range(len(timed)), key=lambda index: -timed[index][1])[:MOST_BARS]
    parts = [timed[index] for index in sorted(kept)]
    rest_ms = whole_ms - sum(ms for _, ms in parts)
    if len(timed) > len(parts):
        parts.append((f"{len(timed) - len(parts)} shorter ones", rest_ms))
    longest = max(timed, key=lambda part: part[1])
    summary = (
        f"{len(timed)} layers timed one by one, {number(whole_ms)} ms together, which is more than a run"
        f" takes. The longest is {longest[0]}: {_share(longest[1], whole_ms)}."
    )
    return _bars(key, f"Where the time goes: {name}", summary, "timed", parts, whole_ms, notes)


def _share(part_ms: float, whole_ms: float) -> str:
    return f"{100 * part_ms / whole_ms:.1f} %" if whole_ms else "nothing"


def _bars(
    key: str,
    title: str,
    summary: str,
    how: str,
    parts: Sequence[tuple[str, float]],
    whole_ms: float,
    notes: Sequence[str],
) -> Chart:
    rows = tuple(
        (name, ms, 100 * ms / whole_ms if whole_ms else 0.0, 100 * run / whole_ms if whole_ms else 0.0)
        for (name, ms), run in zip(parts, _running([ms for _, ms in parts]), strict=True)
    )
    return Chart(
        key,
        title,
        summary,
        ("layer", f"{how} time (ms)", "share (%)", "share so far (%)"),
        rows,
        lambda width: _drawing(width, parts, how),
        tuple(notes),
    )


def _running(values: Sequence[float]) -> list[float]:
    total, found = 0.0, []
    for value in values:
        total += value
        found.append(total)
    return found


def _drawing(width: int, parts: Sequence[tuple[str, float]], how: str) -> Spec:
    most = max((ms for _, ms in parts), default=0.0) or 1.0
    values = [
        {"at": index, "name": name, "ms": ms, "text": number(ms), "mark": mark(index)}
        for index, (name, ms) in enumerate(parts)
    ]
    names = [name for name, _ in parts]
    labels = min(max(map(len, names)) * 6.4 + 20, 0.42 * width)
    y = {
        "field": "at",
        "type": "ordinal",
        "title": None,
        "axis": {
            "labelExpr": f"{_as_list(names)}[datum.value]",
            "labelLimit": labels,
            "ticks": False,
            "domain": False,
            "labelOverlap": False,
        },
    }
    x = {
        "field": "ms",
        "type": "quantitative",
        "title": f"{how} time (ms)",
        "scale": {"domain": [0, (1.12 if width > 500 else 1.3) * most], "nice": False},
        "axis": {"format": ".6~g", "tickCount": max(3, width // 110)},
    }
    return framed(
        {
            "width": width,
            "height": _ROW * len(parts) + 46,
            "padding": {"left": 4 + 0.14 * labels, "right": 4, "top": 4, "bottom": 4},
            "layer": [
                {
                    "mark": {"type": "bar", "color": SERIES[0], "height": {"band": 0.75}},
                    "encoding": {"x": x, "y": y, "description": DESCRIPTION},
                },
                {
                    "mark": {"type": "text", "align": "left", "dx": 4, "fontSize": 10, "color": INK},
                    "encoding": {"x": x, "y": y, "text": {"field": "text", "type": "nominal"}},
                },
            ],
        },
        values,
    )


def _as_list(names: Sequence[str]) -> str:
    """Names as a list of Vega's expression language: strings as in JSON."""
    import json

    return json.dumps(list(names))
