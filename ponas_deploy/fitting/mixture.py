"""Several devices' tables as one prior: which of them, or what mixture, predicts the networks measured here.

A few networks hardly say which of many tables is best, and the best one of them by chance is often worse than
all together. So the tables are mixed with weights that are not negative and drawn to equal ones (a ridge, as
in stacked regressions: Breiman, Machine Learning 24, 1996), and a single table is taken only where it
predicts held-out networks clearly better than the mixture does.

Pure: no clock, no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.tables.grid import Grid

Floats = NDArray[np.float64]

RIDGES = (0.003, 0.03, 0.3, 3.0)
"""What a weight's squared distance from equal ones counts for beside the mean squared relative error."""
CLEARLY_BETTER = 0.9
"""A single table replaces the mixture when its held-out error is below this share."""
_FOLDS = 10
_SWEEPS = 60


@dataclass(frozen=True, slots=True)
class Mixture:
    """A grid for the networks measured here, and the weight (K,) of each table in it, adding up to one.

    `alone_pct` (K,) and `mixed_pct` are mean errors of networks held out: of each table by itself, brought
    here by a straight line, and of all together.
    """

    grid: Grid
    weights: tuple[float, ...]
    alone_pct: tuple[float, ...]
    mixed_pct: float


def mixture(grids: Sequence[Grid], networks: Sequence[Sequence[str]], measured_ms: Floats) -> Mixture:
    """The mixture of tables (K, of equal layers and candidates) for networks (N,), measured in ms (N,).

    The order of networks may be any: neighbours in latency go to different folds.
    """
    sums = np.array([[grid.total(choices) for grid in grids] for choices in networks])
    scales = measured_ms.mean() / sums.mean(axis=0)
    columns = np.column_stack([np.full(len(sums), measured_ms.mean()), sums * scales]) / measured_ms[:, None]
    fold = np.argsort(np.argsort(measured_ms, kind="stable")) % min(_FOLDS, len(sums))
    alone = [_held_out_pct(columns[:, [0, 1 + table]], fold, 0.0) for table in range(len(grids))]
    mixed = [_held_out_pct(columns, fold, ridge) for ridge in RIDGES]
    best, ridge = int(np.argmin(alone)), RIDGES[int(np.argmin(mixed))]
    if len(grids) == 1 or alone[best] < CLEARLY_BETTER * min(mixed):
        weights = np.eye(len(grids))[best]
    else:
        weights = _weights(columns, ridge)[1:]
    if not weights.sum() > 0:
        weights = np.ones(len(grids))
    shares = weights / weights.sum()
    return Mixture(_sum(grids, shares * scales), tuple(shares.tolist()), tuple(alone), min(mixed))


def _held_out_pct(columns: Floats, fold: NDArray[np.intp], ridge: float) -> float:
    """The mean relative error, in percent, of networks (N,) that had no part in fitting the weights."""
    errors = np.empty(len(fold))
    for number in range(int(fold.max()) + 1):
        out = fold == number
        errors[out] = columns[out] @ _weights(columns[~out], ridge) - 1.0
    return 100 * float(np.abs(errors).mean())


def _weights(columns: Floats, ridge: float) -> Floats:
    """Weights (1 + K,) that bring every row to 1: a free constant, then tables, none of them below zero.

    Coordinate descent on the mean squared error and the ridge.
    """
    count, tables = len(columns), columns.shape[1] - 1
    gram, moments = columns.T @ columns / count, columns.T @ np.ones(count) / count
    equal = np.concatenate([[0.0], np.full(tables, 1 / tables)])
    penalty = np.concatenate([[1e-6], np.full(tables, ridge * tables if ridge else 1e-9)])
    weights = equal.copy()
    for _ in range(_SWEEPS):
        for place in range(len(weights)):
            rest = moments[place] - gram[place] @ weights + gram[place, place] * weights[place]
            found = (rest + penalty[place] * equal[place]) / (gram[place, place] + penalty[place])
            weights[place] = found if place == 0 else max(found, 0.0)
    return weights


def _sum(grids: Sequence[Grid], factors: Floats) -> Grid:
    """The grids, each times its factor, added up."""
    values = tuple(
        tuple(float(np.dot(factors, cells)) for cells in zip(*rows, strict=True))
        for rows in zip(*(grid.values for grid in grids), strict=True)
    )
    fixed = float(np.dot(factors, [grid.fixed for grid in grids]))
    return replace(grids[0], values=values, fixed=fixed)
