"""From a fit to the ordinary tables, and from any table to predictions.

A latency table holds each candidate's milliseconds above the cheapest of its layer; what layers have in
common is in the fixed cost, because whole networks do not tell it apart. What was timed is above zero: every
cell carries an equal small part of the fixed cost besides. Of a known space a layer that may be absent costs
exactly nothing then, where that is its cheapest candidate, as it must be but for noise.

An accuracy table holds losses in percentage points. Where the log of the error adds up, a loss is the
effect on log(100 - top-1) times the points that a unit of it is worth at the rows' own error (the slope of
the least-squares line of error over log-error). The order of networks by summed loss is then exactly that
of the fitted model, and the model comes back from the table: its `top1_scale` keeps that factor and the top-1
at no loss, from which `predict` takes percent without the straight line's error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

import numpy as np

from ponas_deploy.errors import TableMismatchError
from ponas_deploy.fitting.design import Floats, Ints, Layout
from ponas_deploy.fitting.result import Fit
from ponas_deploy.tables.accuracy import AccuracyCertificate, AccuracyOrigin, AccuracyTable
from ponas_deploy.tables.accuracy_quality import ADDITIVE, DRIFT, HELD_OUT, IDENTIFIED
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Certificate, LatencyTable, NetworkLatency
from ponas_deploy.tables.measured_how import FitSummary, HeldOutLatencies, MeasurementProtocol
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.top1 import MeasuredTop1, Top1Scale
from searchspace.spaces import build_space

SCALE, NO_LOSS, POINTS = "scale", "top1_at_no_loss_pct", "points_a_unit"
"""Details in which fits kept the scale before it was a part of the table."""
_SHARE_OF_FIXED = 1e-3
_CERTIFIED_NETWORKS = 200
_HELD_OUT_NETWORKS = 1000
"""So many of the held-out rows are kept in the table: a margin from them is as good as from all."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What the networks of accuracies were evaluated on, for the origin of their table; empty where not said.

    `data` names the images, `images` counts them, `weights` says how the networks came by theirs, `details`
    hold whatever else is known, such as a source and its licence.
    """

    data: str = ""
    images: int = 0
    weights: str = ""
    details: tuple[tuple[str, str], ...] = ()


def table_of(
    fit: Fit,
    *,
    created: str = "",
    resolution: int = 224,
    classes: int = 1000,
    evaluated: Evaluated = Evaluated(),
) -> LatencyTable | AccuracyTable:
    """The table of a fit. `resolution` (pixels) and `classes` are those of the networks; with them the
    space is attached where it is known. `evaluated` is for accuracies."""
    key = SpaceKey.of(build_space(fit.space.name, resolution, classes)) if fit.space else None
    if fit.kind == "latency":
        return LatencyTable(
            grid=latency_grid(fit),
            space=key,
            created=created,
            protocol=_protocol(fit),
            certificate=_certificate(fit),
        )
    return _accuracy_table(fit, key, created, _origin(fit, evaluated, resolution, classes))


def latency_grid(fit: Fit) -> Grid:
    """Cells in ms above the cheapest of their layer, and the fixed cost, never below zero."""
    layers = fit.layout.split(fit.model.effects)
    fastest = fit.model.constant + sum(float(layer.min()) for layer in layers)
    middle = float(np.median(fit.networks.values))
    small = _SHARE_OF_FIXED * (fastest if fastest > 0 else middle) / len(layers)
    absent = [layer.absent for layer in fit.space.layers] if fit.space else [None] * len(layers)
    parts = [0.0 if layer.argmin() == free else small for layer, free in zip(layers, absent, strict=True)]
    values = tuple(
        tuple(float(value - layer.min()) + part for value in layer)
        for layer, part in zip(layers, parts, strict=True)
    )
    return Grid(fit.layout.layers, fit.layout.candidates, values, max(0.0, fastest - sum(parts)))


def _protocol(fit: Fit) -> MeasurementProtocol:
    return MeasurementProtocol(
        seed=fit.seed,
        fit=FitSummary(
            method="additive least squares on whole networks, Huber loss on relative errors",
            networks=len(fit.networks),
            file=fit.networks.path.name,
            model=fit.model.prior,
            ridge=fit.model.ridge,
            tau=round(fit.tau.tau, 4),
            tau_low=round(fit.tau.low, 4),
            tau_high=round(fit.tau.high, 4),
            mean_error_pct=float(f"{fit.mean_error:.4g}"),
            identified=fit.identification.complete,
            additive=fit.additivity.additive,
            drift=fit.order.drift,
            median_error_pct=float(f"{np.median(fit.errors):.4g}"),
            p95_error_pct=float(f"{fit.p95_error:.4g}"),
            held_out=_held_out(fit),
        ),
    )


def _held_out(fit: Fit) -> HeldOutLatencies:
    """Held-out predictions beside what was measured, evenly over the predictions where they are many."""
    predicted, measured = fit.held_out.predicted[0], fit.held_out.measured
    order = np.argsort(predicted, kind="stable")
    kept = order[_evenly(len(order), _HELD_OUT_NETWORKS)]
    return HeldOutLatencies(
        *(tuple(float(f"{ms:.6g}") for ms in some[kept]) for some in (predicted, measured))
    )


def _evenly(count: int, most: int) -> Ints:
    """Places of up to `most` of `count` things, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.intp))


def _figures(fit: Fit) -> tuple[tuple[str, str], ...]:
    return (
        ("model", fit.model.prior),
        ("ridge", f"{fit.model.ridge:g}"),
        ("cross_validated_tau", f"{fit.tau.tau:.4f} ({fit.tau.low:.4f} to {fit.tau.high:.4f})"),
        ("mean_error", f"{fit.mean_error:.4g} pp"),
        (IDENTIFIED, _yes_or_no(fit.identification.complete)),
        (ADDITIVE, _yes_or_no(fit.additivity.additive)),
        (DRIFT, _yes_or_no(fit.order.drift)),
        ("seed", str(fit.seed)),
    )


def _yes_or_no(yes: bool) -> str:
    return "yes" if yes else "no"


def _certificate(fit: Fit) -> Certificate | None:
    """Held-out errors as the table's certificate, where repeats say what the noise is.

    There are no isolated cells: the plain sum is the prediction.
    """
    if not fit.noise.freedom:
        return None
    predicted, measured = fit.held_out.predicted[0], fit.held_out.measured
    order = np.argsort(measured, kind="stable")
    places = _evenly(len(order), _CERTIFIED_NETWORKS)
    networks = tuple(
        NetworkLatency(
            fit.networks.choices[row],
            float(predicted[row]),
            float(predicted[row]),
            float(measured[row]),
            Measurement(1, (float(round(measured[row] * 1e6)),)),
        )
        for row in map(int, order[places])
    )
    return Certificate(
        mean_error_pct=fit.mean_error,
        worst_error_pct=float(fit.errors.max()),
        isolated_mean_error_pct=fit.mean_error,
        kendall_tau=fit.tau.tau,
        noise_floor_pct=fit.noise_value * 2 / np.sqrt(np.pi).item(),
        noise_tau=_noise_tau(fit),
        networks=networks,
    )


def _noise_tau(fit: Fit) -> float:
    """The rank correlation of two measurements of the same networks: bivariate normal with this noise."""
    spread = float(np.std(fit.model.predict(fit.layout.cells(fit.networks.choices))))
    spread /= float(np.median(fit.networks.values)) if fit.kind == "latency" else 1.0
    total = spread**2 + fit.noise.sigma**2
    return float(2 / np.pi * np.arcsin(spread**2 / total)) if total > 0 else 0.0


def _origin(fit: Fit, evaluated: Evaluated, resolution: int, classes: int) -> AccuracyOrigin:
    what = "log-error" if fit.scale.name == "log-error" else "error"
    file = fit.networks.path.name
    return AccuracyOrigin(
        data=evaluated.data or file,
        method=f"ridge on the {what} of whole networks",
        resolution=resolution,
        classes=classes,
        images=evaluated.images,
        epochs=(),
        seed=fit.seed,
        details=(
            ("networks", str(len(fit.networks))),
            ("file", file),
            *_figures(fit),
            *evaluated.details,
        ),
        weights=evaluated.weights,
    )


def _accuracy_table(fit: Fit, key: SpaceKey | None, created: str, origin: AccuracyOrigin) -> AccuracyTable:
    layers, points = fit.layout.split(fit.model.effects), fit.points
    values = tuple(tuple(float(points * (value - layer.min())) for value in layer) for layer in layers)
    file = fit.networks.path.name
    made_on = file if origin.data == file else f"{file}: {origin.top1_of()}"
    noise = fit.noise_value if fit.noise.freedom else 0.0
    certificate = AccuracyCertificate(
        len(fit.networks), fit.tau.tau, fit.tau.low, fit.tau.high, fit.held_out.spearman, noise,
        method=HELD_OUT, made_on=made_on, rmse_pp=fit.held_out.rms_error,
    )  # fmt: skip
    loss = Grid(fit.layout.layers, fit.layout.candidates, values)
    return AccuracyTable(
        loss, space=key, origin=origin, created=created, certificate=certificate, top1_scale=_top1_scale(fit)
    )


def _top1_scale(fit: Fit) -> Top1Scale:
    best = fit.model.constant + sum(float(layer.min()) for layer in fit.layout.split(fit.model.effects))
    error = float(np.exp(best)) if fit.scale.name == "log-error" else best
    floor_pct, values = fit.scale.floor_pct, fit.networks.values
    return Top1Scale(
        "log-error" if fit.scale.name == "log-error" else "points",
        100 - floor_pct - error,
        fit.points,
        floor_pct,
        MeasuredTop1(len(values), min(values), max(values)),
    )


def predict(table: LatencyTable | AccuracyTable, choices: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """Milliseconds or percent top-1 of networks, by labels in the order of the table's layers.

    An accuracy table that was not fitted predicts the best top-1 of a layer (the median over layers) less
    the summed loss. TableMismatchError for a table of losses without a level.
    """
    grid = table.grid if isinstance(table, LatencyTable) else table.loss
    layout = Layout(grid.layers, grid.candidates)
    flat = np.array([value for row in grid.values for value in row])
    total = np.array(flat[layout.cells(choices)].sum(axis=1))
    if isinstance(table, LatencyTable):
        return tuple((total + grid.fixed).tolist())
    return tuple(np.clip(_top1(table, total), 0.0, 100.0).tolist())


def _top1(table: AccuracyTable, loss: Floats) -> Floats:
    """Percent top-1 at summed losses (N,) in percentage points."""
    if scale := table.top1_scale or _older_scale(table):
        return scale.top1_pct(loss)
    if table.top1 is not None:
        return float(np.median([max(row) for row in table.top1.values])) - loss
    if table.loss.fixed:
        return 100 - table.loss.fixed - loss
    raise TableMismatchError(
        "the accuracy table holds losses and no level, so a network's top-1 is not known: give a table of"
        " top1_pct, or one that `ponas table fit` made."
    )


def _older_scale(table: AccuracyTable) -> Top1Scale | None:
    """The scale of a fit that kept it in the details of its table; None where there is none."""
    details = dict(table.origin.details) if table.origin else {}
    if NO_LOSS not in details:
        return None
    curve: Literal["log-error", "points"] = "log-error" if details.get(SCALE) == "log-error" else "points"
    return Top1Scale(curve, _number(details, NO_LOSS), _number(details, POINTS))


def _number(details: dict[str, str], key: str) -> float:
    try:
        value = float(details.get(key, ""))
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise TableMismatchError(f"the table's detail '{key}' is {details.get(key)!r}, expected a number.")
    return value
