"""The fit as a whole: rows in, effects and the findings about them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ponas_deploy.errors import MeasurementError, TableMismatchError
from ponas_deploy.files.findings import Finding
from ponas_deploy.fitting.additive import (
    LEAST_SHARE,
    Additivity,
    Noise,
    check_additivity,
    noise_of,
    with_tail,
)
from ponas_deploy.fitting.design import Floats, Layout, counts, priors
from ponas_deploy.fitting.identify import Identification, identification
from ponas_deploy.fitting.order import Order, check_order
from ponas_deploy.fitting.ranks import RankCorrelation
from ponas_deploy.fitting.residuals import Residualizer, clip_outliers
from ponas_deploy.fitting.rows import Rows
from ponas_deploy.fitting.scale import LATENCY, LOG_ERROR, POINTS, Scale, ScaleName, to_scale
from ponas_deploy.fitting.solve import Model, Problem, fit
from ponas_deploy.fitting.validate import HeldOut, OnStep, hold_out, no_step
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.networks_csv import Kind, Networks, in_order_of
from searchspace.space import Space
from searchspace.spaces import SPACES, build_space

LEAST_ROWS, LEAST_NETWORKS = 20, 5
_CLEARLY_BETTER = 0.93
"""Another scale replaces the log-error when its held-out error is below this share."""
_MOST_HALVINGS = 5
"""A floor of the error is looked for up to 31/32 of the least error that was measured."""
_EXPLAINS_NOTHING, _NO_TAU = 10, 0.15
"""With so many networks a candidate, sums whose rank correlation is surely below that explain nothing."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Effects of cells on a value, and their worth.

    `effects` (P,) and `constant` are in `scale`: ms, or log(100 - floor - top-1), or points of error.
    `noise`, `additivity` and `order` are in units of the value for latencies, of the scale else. `tau` and
    `mean_error` (percent of a latency, percentage points of top-1) are of held-out rows.
    """

    networks: Networks
    space: Space | None
    layout: Layout
    scale: Scale
    model: Model
    distinct: int
    held_out: HeldOut
    tau: RankCorrelation
    identification: Identification
    noise: Noise
    additivity: Additivity
    order: Order
    seed: int
    findings: tuple[Finding, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings that are not ok, in words."""
        return tuple(finding.text for finding in self.findings if finding.severity != "ok")

    @property
    def kind(self) -> Kind:
        """`latency` or `accuracy`."""
        return "latency" if self.scale == LATENCY else "accuracy"

    @property
    def errors(self) -> Floats:
        """Sizes of held-out errors, (N,): percent for latency, percentage points for accuracy."""
        return self.held_out.errors(self.kind == "latency")

    @property
    def mean_error(self) -> float:
        """The mean of them."""
        return float(self.errors.mean())

    @property
    def p95_error(self) -> float:
        """What 95 % of them are within."""
        return self.held_out.p95_error(self.kind == "latency")

    @property
    def points(self) -> float:
        """What a unit of the scale is in percentage points, at the rows' own error (log-error only)."""
        if self.scale.name != "log-error":
            return 1.0
        fitted = self.model.predict(self.layout.cells(self.networks.choices))
        error, spread = np.exp(fitted), float(np.var(fitted))
        slope = float(np.cov(fitted, error)[0, 1]) / spread if spread > 1e-18 else 0.0
        return slope * (1 - 1 / len(fitted)) if slope > 0 else float(error.mean())

    @property
    def noise_value(self) -> float:
        """The noise of one measurement: percent for latency, percentage points for accuracy."""
        return self.noise.sigma * (100 if self.kind == "latency" else self.points)


def fit_networks(
    networks: Networks, *, space: str | None = None, seed: int = 0, on_step: OnStep = no_step
) -> Fit:
    """Fit a table to networks with values; MeasurementError with fewer than 20 rows or equal values.

    `space` names the space where several have the same layers and candidates. FileFormatError for a row that
    breaks its depth rule, TableMismatchError for rows of another space.

    `on_step` hears how far it is: 20,000 rows of 2,000 cells take a minute.
    """
    if networks.kind is None or len(networks) < LEAST_ROWS:
        raise MeasurementError(f"{len(networks)} rows are too few for a table: give {LEAST_ROWS} or more.")
    if len(set(networks.values)) == 1:
        raise MeasurementError(f"all {len(networks)} rows have the value {networks.values[0]:g}.")
    known_as, layout = known_layout(networks, space)
    if known_as is not None:  # refuses rows that it does not allow
        in_order_of(networks, Grid(layout.layers, layout.candidates, ()), known_as)
    rows = Rows.of(networks, layout)
    if rows.distinct < LEAST_NETWORKS:
        raise MeasurementError(
            f"{len(networks)} rows hold {rows.distinct} different networks: a table needs {LEAST_NETWORKS}."
        )
    alike = priors(layout)
    kind = networks.kind
    scale, held_out = _best_scale(rows, layout, alike, kind, seed, on_step)
    problem = rows.problem(scale)
    on_step(0, 2, "all rows")
    model = fit(problem, layout, alike)
    on_step(1, 2, "all rows")
    known = identification(layout, counts(problem.cells, layout.size, np.ones(rows.distinct)), rows.distinct)
    noise, order, additivity = _checked(rows, problem, model, alike[model.prior], scale)
    on_step(2, 2, "all rows")
    tau = held_out.tau
    if tau.high < _NO_TAU and rows.distinct >= _EXPLAINS_NOTHING * known.wanted:
        additivity = replace(additivity, additive=False, kind=additivity.kind or "nothing")
    if kind == "latency":
        additivity = with_tail(additivity, held_out.p95_error(relative=True), noise)
    if order.drift and order.sorted_by and not additivity.additive:
        order = replace(order, drift=False)
    found = Fit(
        networks, known_as, layout, scale, model, rows.distinct, held_out, tau, known, noise, additivity,
        order, seed,
    )  # fmt: skip
    return replace(found, findings=fit_findings(found))


def known_layout(networks: Networks, name: str | None = None) -> tuple[Space | None, Layout]:
    """The known space whose layers these are, with all its candidates; else the labels that were seen.

    The first of several, or the one of that `name`; TableMismatchError where the rows are not its networks.
    """
    for space in map(build_space, [name] if name else SPACES):
        names = tuple(layer.name for layer in space.layers)
        pairs = zip(networks.candidates, space.labels, strict=False)
        if networks.layers == names and all(set(seen) <= set(labels) for seen, labels in pairs):
            return space, Layout(names, space.labels)
    if name:
        raise TableMismatchError(f"{networks.path}: layers and candidates are not those of space '{name}'.")
    return None, Layout(networks.layers, networks.candidates)


def _best_scale(
    rows: Rows, layout: Layout, alike: dict[str, Floats], kind: Kind, seed: int, on_step: OnStep
) -> tuple[Scale, HeldOut]:
    if kind == "latency":
        return LATENCY, hold_out(rows, layout, alike, LATENCY, seed, on_step)

    def tried(scale: Scale) -> tuple[Scale, HeldOut]:
        return scale, hold_out(rows, layout, alike, scale, seed, on_step)

    logs = tried(LOG_ERROR)
    others = tried(POINTS), _with_floor(logs, float(100 - rows.values.max()), tried)
    best = min(others, key=_held_out_error)
    return best if _held_out_error(best) < _CLEARLY_BETTER * _held_out_error(logs) else logs


def _with_floor(
    logs: tuple[Scale, HeldOut], least_error_pct: float, tried: Callable[[Scale], tuple[Scale, HeldOut]]
) -> tuple[Scale, HeldOut]:
    """The log-error above a floor: 1/2, 3/4, 7/8, ... of the least error, as long as that predicts better."""
    best = logs
    for halvings in range(1, _MOST_HALVINGS + 1):
        floor_pct = float(f"{least_error_pct * (1 - 0.5**halvings):.4g}")
        found = tried(Scale("log-error", floor_pct))
        if _held_out_error(found) >= _held_out_error(best):
            break
        best = found
    return best


def _held_out_error(tried: tuple[Scale, HeldOut]) -> float:
    return float(tried[1].errors(False).mean())


def _checked(
    rows: Rows, problem: Problem, model: Model, root: Floats, scale: Scale
) -> tuple[Noise, Order, Additivity]:
    """Noise, drift and additivity, from residuals in units of the value (latency) or of the scale."""
    size = len(model.effects)
    every = replace(
        problem, cells=rows.cells, target=to_scale(rows.values, scale), repeats=np.ones(len(rows.values))
    )
    predicted = model.predict(rows.cells)
    clipped, unit = clip_outliers(every, predicted)
    precision = np.asarray(np.linalg.inv(root @ root.T), dtype=np.float64)
    residuals_of = Residualizer.of(rows.cells, unit, model.ridge * precision)
    order = check_order(rows.values, clipped, residuals_of, len(rows.values) - model.freedom)
    steady = clipped - order.trend if order.drift else clipped
    noise = noise_of(steady * unit, unit, rows.group, problem.step)
    trend = np.bincount(rows.group, order.trend) / problem.repeats if order.drift else None
    network = model.predict(problem.cells)
    clipped, unit = clip_outliers(problem, network)
    additivity = check_additivity(
        problem.cells, size, clipped, unit, network, model.effects, problem.repeats, noise, trend
    )
    return noise, order, additivity


def fit_findings(fit: Fit) -> tuple[Finding, ...]:
    """What a fit says of itself: whether candidates are told apart, sums hold, the machine was steady."""
    return (*_of_identification(fit), *_of_additivity(fit), *_of_order(fit), *_of_predictions(fit))


def _of_identification(fit: Fit) -> Iterator[Finding]:
    if fit.identification.complete:
        yield Finding("ok", "identified", "all candidates are told apart")
    for sentence in fit.identification.sentences:
        yield Finding("warning", "identified", sentence)


def _of_additivity(fit: Fit) -> Iterator[Finding]:
    found, wanted = fit.additivity, fit.identification.wanted
    if not found.checked:
        message = f"{fit.distinct} different networks are too few to see whether sums explain them:"
        yield Finding("warning", "additive", f"{message} it takes {wanted + 30} or more.")
    elif fit.distinct < 2 * wanted:
        message = (
            f"{fit.distinct} networks for {wanted - 1} effects: cells are rough, give {2 * wanted} or more."
        )
        yield Finding("warning", "cells", message)
    if found.tail:
        most = f"{fit.p95_error:.0f} % or more"
        message = f"one held-out network in twenty is off by {most}: sums do not predict networks here."
        yield Finding("warning", "additive", message, "Measure what is chosen by this table.")
    if found.kind == "nothing":
        message = "sums over layers explain nothing of these rows: do not choose networks by this table."
        yield Finding("error", "additive", message)
    elif found.checked and found.share >= LEAST_SHARE:
        what = "" if found.kind == "more than noise" else f" ({found.kind})"
        message = (
            f"layers interact{what}: sums miss {found.structure * _per_unit(fit):.2g} {_unit(fit)} (one"
            f" standard deviation), {100 * found.share:.0f} % of what tells networks apart."
        )
        yield Finding("warning", "additive", message, "Measure what is chosen by this table.")
    elif found.checked and not found.tail:
        yield Finding("ok", "additive", "sums explain the rows")


def _of_order(fit: Fit) -> Iterator[Finding]:
    if fit.order.drift:
        message = f"values drift by {fit.order.span * _per_unit(fit):.2g} {_unit(fit)} over the rows."
        advice = "Measure in random order, in several rounds, on a machine at rest."
        yield Finding("warning", "drift", message, advice)
    elif fit.order.sorted_by:
        message = (
            f"rows are in order of their {fit.order.sorted_by}: whether the machine drifted is hard to see."
        )
        yield Finding("warning", "drift", message)
    else:
        yield Finding("ok", "drift", "no drift over the rows")


def _of_predictions(fit: Fit) -> Iterator[Finding]:
    if fit.tau.low <= 0:
        interval = f"{fit.tau.low:.2f} to {fit.tau.high:.2f}"
        message = f"the rank correlation of held-out rows may be zero ({interval})."
        yield Finding("warning", "held-out rows", message)
    fastest = fit.model.constant + sum(float(row.min()) for row in fit.layout.split(fit.model.effects))
    if fit.kind == "latency" and fastest <= 0:
        message = (
            f"by these sums the fastest network takes {fastest:.3g} ms: far from the rows the table is wrong."
        )
        yield Finding("warning", "fastest network", message)
    middle = float(np.median(fit.errors))
    if fit.mean_error > 3 * middle > 0:
        message = (
            f"a few rows are far off: the mean held-out error is {fit.mean_error:.2g} {_unit(fit)}, the"
            f" median {middle:.2g} {_unit(fit)}. They have little weight."
        )
        yield Finding("warning", "held-out rows", message)


def _unit(fit: Fit) -> str:
    return "%" if fit.kind == "latency" else "percentage points"


def _per_unit(fit: Fit) -> float:
    """What a unit of the noise, the structure and the trend is in the unit that people read."""
    return 100 if fit.kind == "latency" else fit.points


@dataclass(frozen=True, slots=True)
class FitDocument:
    """What `ponas table fit --json` says of a fit; see `Fit`.

    Errors and `noise` are in percent (latency) or percentage points (accuracy); what the rows cannot tell is
    None. `rms_error_pp` is the root mean square of held-out errors of top-1, None for latencies;
    `error_floor_pct` the error that no network goes below, 0 for none (`fitting.scale`).
    """

    kind: Kind
    space: str | None
    networks: int
    different_networks: int
    layers: int
    cells: int
    cross_validated_tau: float
    cross_validated_tau_interval: tuple[float, float]
    mean_error: float
    median_error: float
    p95_error: float
    noise: float | None
    identified: bool
    additive: bool
    drift: bool
    scale: ScaleName
    error_floor_pct: float
    rms_error_pp: float | None
    model: str
    ridge: float
    non_additive_share: float | None
    drift_share: float
    seed: int
    warnings: tuple[str, ...]


def fit_document(fit: Fit) -> FitDocument:
    """The fit as `ponas table fit --json` prints it; errors in percent (latency) or points (accuracy)."""
    return FitDocument(
        kind=fit.kind,
        space=fit.space.name if fit.space else None,
        networks=len(fit.networks),
        different_networks=fit.distinct,
        layers=len(fit.layout.layers),
        cells=fit.layout.size,
        cross_validated_tau=fit.tau.tau,
        cross_validated_tau_interval=(fit.tau.low, fit.tau.high),
        mean_error=fit.mean_error,
        median_error=float(np.median(fit.errors)),
        p95_error=fit.p95_error,
        noise=fit.noise_value if fit.noise.freedom else None,
        identified=fit.identification.complete,
        additive=fit.additivity.additive,
        drift=fit.order.drift,
        scale=fit.scale.name,
        error_floor_pct=fit.scale.floor_pct,
        rms_error_pp=fit.held_out.rms_error if fit.kind == "accuracy" else None,
        model=fit.model.prior,
        ridge=fit.model.ridge,
        non_additive_share=fit.additivity.share if fit.additivity.checked else None,
        drift_share=fit.order.share,
        seed=fit.seed,
        warnings=fit.warnings,
    )
