"""Predicted against measured latency of the networks that a table was checked on, with the noise beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ponas_deploy.charts.chart import BAND, DESCRIPTION, FAINT, SERIES, Axis, Chart, Spec, framed, mark
from ponas_deploy.tables.latency import LatencyTable

_HEIGHT, _WIDE, _MARGIN = 260, 700, 66


@dataclass(frozen=True, slots=True)
class _Checked:
    """A network: what the table says of it and what it took, in ms."""

    name: str
    predicted_ms: float
    measured_ms: float

    @property
    def error_pct(self) -> float:
        return 100 * (self.predicted_ms / self.measured_ms - 1)


def prediction_chart(key: str, name: str, table: LatencyTable) -> Chart | None:
    """The check networks of a certificate, or the held-out rows of a fit; None where a table has neither."""
    found, noise_pct, kind = _checked(table)
    if not found:
        return None
    errors = [abs(one.error_pct) for one in found]
    floor = f" Measuring the same networks twice differs by {noise_pct:.1f} %: the band." if noise_pct else ""
    return Chart(
        key,
        f"Predicted against measured: {name}",
        f"{len(found)} {kind}: mean error {fmean(errors):.1f} %, worst {max(errors):.1f} %.{floor}",
        ("network", "measured (ms)", "predicted (ms)", "error (% of measured)"),
        tuple((one.name, one.measured_ms, one.predicted_ms, one.error_pct) for one in found),
        lambda width: _drawing(width, found, noise_pct),
        () if noise_pct else ("The noise of these measurements is not known: no band is drawn.",),
    )


def _checked(table: LatencyTable) -> tuple[list[_Checked], float, str]:
    if table.certificate and table.certificate.networks:
        proof = table.certificate
        found = [_Checked(",".join(one.choices), one.predicted_ms, one.measured_ms) for one in proof.networks]
        return found, proof.noise_floor_pct, "check networks that had no part in the table"
    rows = table.protocol.fit.held_out if table.protocol.fit else None
    if rows is None:
        return [], 0.0, ""
    pairs = enumerate(zip(rows.predicted_ms, rows.measured_ms, strict=True), start=1)
    return [_Checked(f"row {index}", *pair) for index, pair in pairs], 0.0, "rows held out of the fit"


def _drawing(width: int, found: Sequence[_Checked], noise_pct: float) -> Spec:
    values = [
        {
            "measured": one.measured_ms,
            "predicted": one.predicted_ms,
            "error": one.error_pct,
            "mark": mark(index),
        }
        for index, one in enumerate(found)
    ]
    beside = width >= _WIDE
    each = (width - 2 * _MARGIN - 20) // 2 if beside else width - _MARGIN
    both = [value for one in found for value in (one.measured_ms, one.predicted_ms)]
    axis = Axis.over(both)
    errors = Axis.over([*(one.error_pct for one in found), noise_pct, -noise_pct, 0.0], log=False)
    ends = [axis.low, axis.high]
    panes = [
        _pane(each, axis, axis, ("predicted", "predicted latency (ms)"), _diagonal(ends, noise_pct)),
        _pane(each, axis, errors, ("error", "error (% of measured)"), _level(ends, noise_pct)),
    ]
    spec = framed({"hconcat" if beside else "vconcat": panes, "spacing": 20}, values)
    return spec


def _diagonal(ends: Sequence[float], noise_pct: float) -> list[Spec]:
    return [
        {"x": end, "y": end, "low": end * (1 - noise_pct / 100), "high": end * (1 + noise_pct / 100)}
        for end in ends
    ]


def _level(ends: Sequence[float], noise_pct: float) -> list[Spec]:
    return [{"x": end, "y": 0.0, "low": -noise_pct, "high": noise_pct} for end in ends]


def _pane(width: int, x: Axis, y: Axis, field: tuple[str, str], band: Sequence[Spec]) -> Spec:
    name, title = field
    across = {
        "type": "quantitative",
        "title": f"measured latency (ms{', logarithmic' if x.log else ''})",
        "scale": x.scale(),
        "axis": x.axis(width),
    }
    up = {"type": "quantitative", "title": title, "scale": y.scale(), "axis": y.axis(int(1.6 * _HEIGHT))}
    return {
        "width": width,
        "height": _HEIGHT,
        "layer": [
            {
                "data": {"values": list(band)},
                "mark": {"type": "area", "color": BAND, "opacity": 0.6, "clip": True},
                "encoding": {
                    "x": {**across, "field": "x"},
                    "y": {**up, "field": "low"},
                    "y2": {"field": "high"},
                },
            },
            {
                "data": {"values": list(band)},
                "mark": {"type": "line", "color": FAINT, "strokeDash": [4, 3], "strokeWidth": 1},
                "encoding": {"x": {**across, "field": "x"}, "y": {**up, "field": "y"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 46, "color": SERIES[0], "opacity": 0.85},
                "encoding": {
                    "x": {**across, "field": "measured"},
                    "y": {**up, "field": name},
                    "description": DESCRIPTION,
                },
            },
        ],
    }
