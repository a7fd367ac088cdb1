"""Additive least squares with a ridge, robust against networks that were measured wrong.

    value = constant + sum over layers of the chosen candidate's effect + noise

The ridge draws a layer's effects to their mean (and, by the covariance of `design.priors`, cells of one
kind together); it counts in rows: a ridge of 3 weighs as much as three rows for each cell. Its strength
and covariance are chosen by leaving out one row at a time (Allen's PRESS, Technometrics 16, 1974; with
plenty of rows its generalised form, Golub, Heath and Wahba, Technometrics 21, 1979). Huber's loss (Ann.
Math. Statist. 35, 1964) gives each row its weight: in relative errors for latencies, else in plain ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ponas_deploy.fitting.design import Floats, Ints, Layout, counts, sums

RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_FIRST_RIDGE = 1.0
"""While outliers are looked for; a weaker one would follow them."""
_ROUNDS = 6
_FEW_CELLS = 500
"""So many are solved faster by elimination."""
_EXACT, _MOST_STEPS = 1e-16, 500
"""Conjugate gradients end when the squared residual is below this share of the right side's."""
_HUBER_SIGMAS = 1.345
_ROWS_A_RIDGE = 5
"""No ridge weighs more than a fifth of the rows: where few rows predict little, the strongest would leave
nothing but their mean, by which no network is above another."""
_PLENTY = 10
"""With so many rows a cell the covariance no longer matters, and is not looked for."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Different networks and what was measured of each.

    `cells` (N, L), `target` (N,) in the scale that is fitted, `repeats` (N,) how often each was
    measured. `relative`: errors count relative to the value. `step`: what the clock cannot tell
    apart, in the unit of the target.
    """

    cells: Ints
    target: Floats
    repeats: Floats
    relative: bool
    step: float

    def subset(self, rows: Floats | Ints) -> Problem:
        """The networks at `rows` alone."""
        return replace(self, cells=self.cells[rows], target=self.target[rows], repeats=self.repeats[rows])

    def scale(self, predicted: Floats) -> Floats:
        """What an error of each network is divided by, (N,)."""
        if not self.relative:
            return np.ones(len(predicted))
        middle = float(np.median(self.target))
        return np.clip(predicted, 0.25 * middle, 4 * middle)


@dataclass(frozen=True, slots=True)
class Model:
    """Effects of cells (P,), zero on the mean of a layer's rows where they are many, and the constant.

    `freedom` is the effective number of effects.
    """

    constant: float
    effects: Floats
    prior: str
    ridge: float
    freedom: float

    def predict(self, cells: Ints) -> Floats:
        """Values of networks, (N,)."""
        return np.asarray(self.constant + self.effects[cells].sum(axis=1), dtype=np.float64)


def fit(problem: Problem, layout: Layout, priors: Mapping[str, Floats]) -> Model:
    """The robust fit, with the ridge and the covariance that predict best."""
    weights = robust_weights(problem, layout.size)
    normal = normal_equations(problem, layout.size, weights)
    if len(problem.target) > _PLENTY * layout.size:
        tried = [_by_generalised(normal, "cells", priors["cells"])]
    else:
        rows = _weighted_rows(problem, normal, weights)
        tried = [_by_leaving_one_out(rows, weights, name, root) for name, root in priors.items()]
    best = min(tried, key=lambda one: one.score)
    constant = normal.mean - float(normal.share @ best.effects)
    return Model(constant, best.effects, best.prior, best.ridge, best.freedom)


@dataclass(frozen=True, slots=True)
class _Tried:
    """Effects (P,) under one covariance with the ridge that suits it best; a lower score is better."""

    score: float
    prior: str
    ridge: float
    effects: Floats
    freedom: float


@dataclass(frozen=True, slots=True)
class Normal:
    """Weighted normal equations with the constant taken out; weights have mean one.

    `gram` (P, P), `moments` (P,), `share` (P,) of each cell in the rows, `square` the weighted sum of
    squares, `rows` their number.
    """

    gram: Floats
    moments: Floats
    share: Floats
    mean: float
    square: float
    rows: int


def normal_equations(problem: Problem, size: int, weights: Floats) -> Normal:
    """What a least-squares fit needs of the rows."""
    total = float(weights.sum())
    mean = float(weights @ problem.target) / total
    away = problem.target - mean
    gram = counts(problem.cells, size, weights)
    each = np.diag(gram).copy()
    gram -= np.outer(each, each / total)
    moments = sums(problem.cells, size, weights * away)
    return Normal(gram, moments, each / total, mean, float(weights @ (away * away)), len(weights))


def ridge_effects(
    problem: Problem, weights: Floats, ridge: float, start: Floats
) -> tuple[Floats, Floats, float]:
    """Effects (P,) of a plain ridge, the share (P,) of each cell in the rows, and the mean of the target.

    Of many cells by conjugate gradients from `start` (Hestenes and Stiefel, J. Res. NBS 49, 1952), scaled by
    the diagonal: a step costs N L additions, and the matrix of the normal equations is never made.
    """
    if len(start) <= _FEW_CELLS:
        normal = normal_equations(problem, len(start), weights)
        effects = np.linalg.solve(normal.gram + ridge * np.eye(len(start)), normal.moments)
        return effects.astype(np.float64), normal.share, normal.mean
    cells, size, total = problem.cells, len(start), float(weights.sum())
    each = sums(cells, size, weights)
    share, mean = each / total, float(weights @ problem.target) / total
    diagonal = each - each * share + ridge

    def times(vector: Floats) -> Floats:
        of_rows = weights * (vector[cells].sum(axis=1) - float(share @ vector))
        return sums(cells, size, of_rows) - share * float(of_rows.sum()) + ridge * vector

    moments = sums(cells, size, weights * (problem.target - mean))
    effects, left = start, moments - times(start)
    step = left / diagonal
    along = float(left @ step)
    enough = _EXACT * float(moments @ (moments / diagonal))
    for _ in range(_MOST_STEPS):
        if along <= enough:
            break
        image = times(step)
        length = along / float(step @ image)
        effects, left = effects + length * step, left - length * image
        before, along = along, float(left @ (left / diagonal))
        step = left / diagonal + along / before * step
    return effects, share, mean


def robust_weights(problem: Problem, size: int) -> Floats:
    """Weights (N,), mean one: repeats, over the square of the scale, over Huber's inflation of the noise."""
    count = len(problem.target)
    repeat_weight = 2 * problem.repeats / (problem.repeats + 1)
    inflation = np.ones(count)
    predicted = np.full(count, float(np.median(problem.target)))
    effects = np.zeros(size)
    for _ in range(_ROUNDS):
        scale = problem.scale(predicted)
        weights = repeat_weight / (scale * scale)
        weights = weights / weights.mean() / inflation
        effects, share, mean = ridge_effects(problem, weights, _FIRST_RIDGE, effects)
        predicted = mean + (effects[problem.cells].sum(axis=1) - float(share @ effects))
        away = np.abs(problem.target - predicted) / scale
        each = share * count
        free = min(float((each / (each + _FIRST_RIDGE)).sum()) - problem.cells.shape[1], 0.8 * count)
        sigma = 1.4826 * float(np.median(away)) * np.sqrt(count / (count - max(free, 0.0)))
        sigma = max(sigma, problem.step / float(np.median(scale)) / 2, 1e-9)
        inflation = np.maximum(1.0, away / (_HUBER_SIGMAS * sigma))
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def _weighted_rows(problem: Problem, normal: Normal, weights: Floats) -> tuple[Floats, Floats]:
    """Rows (N, P) and values (N,) with the constant taken out, times the root of their weights."""
    design = np.zeros((len(weights), len(normal.share)))
    np.put_along_axis(design, problem.cells, 1.0, axis=1)
    root = np.sqrt(weights)
    return (design - normal.share) * root[:, None], (problem.target - normal.mean) * root


def _by_leaving_one_out(rows: tuple[Floats, Floats], weights: Floats, name: str, root: Floats) -> _Tried:
    """The ridge whose fits predict each row best from the others: a residual over one less its leverage.

    With K = R R' (`root` is R) the ridge is plain in the coordinates R^-1 effects, where one
    decomposition serves all strengths, in the space of rows or of cells, whichever is smaller.
    """
    design, target = rows[0] @ root, rows[1]
    if len(target) < design.shape[1]:
        values, left = np.linalg.eigh(design @ design.T)
        left = left[:, values > 1e-9 * values[-1]]
        values = values[values > 1e-9 * values[-1]]
        right = design.T @ (left / np.sqrt(values))
    else:
        values, right = np.linalg.eigh(design.T @ design)
        right = right[:, values > 1e-9 * values[-1]]
        values = values[values > 1e-9 * values[-1]]
        left = design @ (right / np.sqrt(values))
    along, mass = left.T @ target, left * left
    constant = weights / weights.sum()
    scores = []
    for ridge in (one for one in RIDGES if one <= len(target) / _ROWS_A_RIDGE):
        kept = values / (values + ridge)
        leverage = np.minimum(constant + mass @ kept, 1 - 1e-9)
        away = (target - left @ (kept * along)) / (1 - leverage)
        scores.append(float(away @ away))
    best = int(np.argmin(scores))
    ridge = RIDGES[best]
    shrunk = right @ (np.sqrt(values) * along / (values + ridge))
    return _Tried(scores[best], name, ridge, root @ shrunk, 1 + float((values / (values + ridge)).sum()))


def _by_generalised(normal: Normal, name: str, root: Floats) -> _Tried:
    """The same from the normal equations alone, with the mean leverage for each row's own."""
    values, vectors = np.linalg.eigh(root.T @ normal.gram @ root)
    values = np.maximum(values, 0.0)
    along = vectors.T @ (root.T @ normal.moments)
    tried = []
    for ridge in RIDGES:
        shrunk = along / (values + ridge)
        freedom = 1 + float((values / (values + ridge)).sum())
        residual = normal.square - 2 * float(shrunk @ along) + float(values @ (shrunk * shrunk))
        score = max(residual, 0.0) / (1 - freedom / normal.rows) ** 2
        tried.append(_Tried(score, name, ridge, root @ (vectors @ shrunk), freedom))
    return min(tried, key=lambda one: one.score)
