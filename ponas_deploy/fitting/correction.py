"""From isolated cells to what they cost inside a network, and the certificate of it.

An isolated block is not what a network runs: layouts are reordered at its boundaries, its weights
stay in the cache, its residual is not fused. Whole networks say by how much. The correction stays
additive over layers, because the exact search needs that:

    T = a + sum over layers of  cell * (b + shape + traits + own) + traits' constants

`a` and `b` are the straight line. The rest (a factor of each input shape, factor and constant of
each trait such as squeeze-and-excite, a residual or INT8, a factor of each cell) is drawn to zero as
strongly as the networks say, and near what is usual (`shrink`). The errors are relative, and a disturbed
network hardly moves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.errors import MeasurementError
from ponas_deploy.fitting.shrink import FREE, Strengths, solve, strengths
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import SCALED, Certificate, Correction, NetworkLatency
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.statistics import kendall_tau, repeatability
from searchspace.mixed import INT8, is_int8
from searchspace.ops import (
    Branches,
    Conv,
    Dropout,
    GlobalPool,
    Linear,
    Op,
    Residual,
    Shuffle,
    SqueezeExcite,
    assert_never,
    convolutions,
    walk,
)
from searchspace.space import Cell

Floats = NDArray[np.float64]
Cells = tuple[tuple[Cell, ...], ...]

LEAST_FIT, LEAST_CHECK = 16, 12
"""The fewest networks to fit a correction on, and to certify it on."""
KINDS = ("cell", "count", "shape", "trait")
"""What a correction may hold besides the line."""
USUAL = Strengths((("cell", 1e-3), ("count", 1e-3), ("shape", 1e-2), ("trait", 1e-3)), noise=1e-4)
"""Factors of shapes differ by about 10 %, all else by 3 %; networks are timed to 1 % (docs/measuring.md)."""
_LEAST_SHARE = 0.1
"""No correction takes a cell below this share of what the line says, so that all stay positive."""


@dataclass(frozen=True, slots=True)
class TimedNetwork:
    """A whole network with its raw rounds."""

    choices: tuple[str, ...]
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class Design:
    """How cells become columns: `cells` (L x C, P) holds each cell's share of every column, in ms."""

    cells: tuple[Floats, ...]
    kinds: tuple[str, ...]

    def rows(self, grid: Grid, networks: Sequence[Sequence[str]]) -> Floats:
        """One row a network, (N, P): the sums of its cells' shares."""
        return np.array(
            [
                sum(layer[index] for layer, index in zip(self.cells, grid.indices(choices), strict=True))
                for choices in networks
            ]
        )


def correct(
    isolated: Grid,
    cells: Cells,
    networks: Sequence[TimedNetwork],
    statistic: str,
    kinds: Sequence[str] = KINDS,
    least: int = LEAST_FIT,
) -> tuple[Grid, Correction]:
    """The corrected grid in milliseconds, and how it was fitted on `networks`.

    Without any `kinds` it is the straight line. MeasurementError with fewer than `least` networks, or when
    they do not get slower as their cells do.
    """
    if len(networks) < least:
        raise MeasurementError(
            f"{len(networks)} whole networks were timed, a correction needs {least}: allow more time."
        )
    measured = np.array([net.measurement.value_ms(statistic) for net in networks])
    columns = design(isolated, cells, kinds)
    rows = columns.rows(isolated, [net.choices for net in networks])
    rows[:, 0] = measured.mean()
    relative = rows / measured[:, None]
    found = strengths(relative, columns.kinds, USUAL)
    weights, _ = solve(relative, columns.kinds, found)
    if weights[1] <= 0:
        raise MeasurementError(
            "networks of slower cells are not slower here, so cells say nothing about networks:"
            " measure on a quieter machine, or with more time."
        )
    grid = _corrected(isolated, columns, weights, float(measured.mean()))
    parameters = (
        ("intercept_ms", float(weights[0] * measured.mean())),
        ("slope", float(weights[1])),
        *_strength_figures(found),
        ("cross_validated_pct", _cross_validated_pct(relative, columns.kinds, found)),
    )
    method = "line and ridge" if kinds else "line"
    return grid, Correction(method, parameters, _latencies(networks, isolated, grid, statistic))


def scale(isolated: Grid, networks: Sequence[TimedNetwork], statistic: str) -> tuple[Grid, Correction]:
    """The cells in milliseconds, all times one factor, so that they add up to the only network there is.

    MeasurementError without a network that was timed.
    """
    if not networks:
        raise MeasurementError("the network was not timed as a whole: allow more time.")
    total = isolated.total(networks[0].choices)
    slope = networks[0].measurement.value_ms(statistic) / total
    grid = isolated.scaled(slope)
    return grid, Correction(SCALED, (("slope", slope),), _latencies(networks, isolated, grid, statistic))


def _strength_figures(found: Strengths) -> tuple[tuple[str, float], ...]:
    """Standard deviations in percent: of each kind's factors, and of what is left."""
    spreads = ((f"{kind}_spread_pct", variance) for kind, variance in sorted(found.variances))
    return tuple(
        (name, 100 * float(np.sqrt(variance))) for name, variance in (*spreads, ("residual_pct", found.noise))
    )


def certify(grid: Grid, isolated: Grid, networks: Sequence[TimedNetwork], statistic: str) -> Certificate:
    """How well `grid` predicts `networks`, which must have had no part in fitting it."""
    if len(networks) < LEAST_CHECK:
        raise MeasurementError(
            f"{len(networks)} whole networks are left to check the table with, a certificate needs"
            f" {LEAST_CHECK}: allow more time."
        )
    checked = _latencies(networks, isolated, grid, statistic)
    errors = np.array([abs(net.error_pct) for net in checked])
    measured = np.array([net.measured_ms for net in checked])
    sums = np.array([net.isolated_ms for net in checked])
    noise = repeatability([net.measurement for net in networks], statistic)
    return Certificate(
        mean_error_pct=float(errors.mean()),
        worst_error_pct=float(errors.max()),
        isolated_mean_error_pct=float(np.abs(100 * (sums / measured - 1)).mean()),
        kendall_tau=kendall_tau(np.array([net.predicted_ms for net in checked]), measured),
        noise_floor_pct=noise.difference_pct,
        noise_tau=noise.tau,
        networks=checked,
    )


def _latencies(
    networks: Sequence[TimedNetwork], isolated: Grid, grid: Grid, statistic: str
) -> tuple[NetworkLatency, ...]:
    return tuple(
        NetworkLatency(
            net.choices,
            isolated.total(net.choices),
            grid.total(net.choices),
            net.measurement.value_ms(statistic),
            net.measurement,
        )
        for net in networks
    )


def design(isolated: Grid, cells: Cells, kinds: Sequence[str] = KINDS) -> Design:
    """Columns: intercept (left empty here), sum, a factor a shape, a factor and a count a trait, own."""
    flat = [cell for row in cells for cell in row]
    values = np.array([value for row in isolated.values for value in row])
    described = [(*traits(cell.ops), *(INT8,) * is_int8(cell.key)) for cell in flat]
    columns, names = [np.zeros(len(flat)), values], [FREE, FREE]
    for kind, labels, scale in (
        ("shape", [(str(cell.input_shape),) for cell in flat], values),
        ("trait", described, values),
        ("count", described, np.full(len(flat), values.mean())),
        ("cell", [(cell.key,) for cell in flat], values),
    ):
        for label in sorted({label for some in labels for label in some} if kind in kinds else ()):
            columns.append(scale * [label in some for some in labels])
            names.append(kind)
    splits = np.cumsum([len(row) for row in cells])[:-1]
    return Design(tuple(np.split(np.array(columns).T, splits)), tuple(names))


def traits(ops: tuple[Op, ...]) -> tuple[str, ...]:
    """What a block is like, in words that blocks of other shapes share."""
    words = []
    if found := list(convolutions(ops)):
        words.append(f"kernel {max(conv.kernel for conv in found)}")
        words.append(f"expansion {max(c.out_channels for c in found) / found[0].in_channels:.0f}")
        words.append(f"stride {max(conv.stride for conv in found)}")
    words += filter(None, map(_trait, walk(ops)))
    return tuple(dict.fromkeys(words))


def _trait(op: Op) -> str:
    """The word for an operation that a block either has or has not; empty for the others."""
    if isinstance(op, Residual):
        return "residual"
    if isinstance(op, SqueezeExcite):
        return "squeeze-and-excite"
    if isinstance(op, Branches):
        return "branches"
    if isinstance(op, (Conv, Shuffle, GlobalPool, Dropout, Linear)):
        return ""
    assert_never(op)


def _cross_validated_pct(relative: Floats, kinds: Sequence[str], given: Strengths, folds: int = 6) -> float:
    """Mean error in percent of networks left out of the fit, all of them once; the strengths stay."""
    # Neighbours in latency go to different folds, so that no fit has to extrapolate.
    fold = np.arange(len(relative)) % folds
    errors = []
    for number in range(folds):
        weights, _ = solve(relative[fold != number], kinds, given)
        errors.append(np.abs(relative[fold == number] @ weights - 1.0))
    return 100 * float(np.concatenate(errors).mean())


def _corrected(isolated: Grid, design: Design, weights: Floats, mean_ms: float) -> Grid:
    """The grid of a fit, every cell above zero but those of absent layers, which stay 0.

    The intercept holds stem, head and what every run costs besides. Where it is below zero (isolated
    cells count the cost of a run too often), the layers that are never absent carry it in equal parts, or all
    where none is, and sums stay the same.
    """
    intercept = float(weights[0] * mean_ms)
    always = [min(row) > 0 for row in isolated.values]
    carrying = always if any(always) else [True] * len(always)
    carried = min(0.0, intercept) / sum(carrying)
    values = []
    for row, columns, carries in zip(isolated.values, design.cells, carrying, strict=True):
        least = _LEAST_SHARE * weights[1] * np.array(row)
        cells = np.maximum(columns @ weights + carried * carries, least)
        values.append(tuple(float(value) for value in cells))
    return Grid(isolated.layers, isolated.candidates, tuple(values), max(0.0, intercept))
