"""A regression whose columns come in kinds, each kind drawn to zero as strongly as the data say.

A column's weight is taken to be normal around zero, with one variance for all columns of a kind. The
variances and that of the noise are the most probable ones (empirical Bayes: MacKay, Neural Computation 4,
1992). Few rows hardly tell one variance from another, and the likeliest is often none for one kind and far
too much for another: so each is also held near what is usual for its kind, the less the more rows there are.
Nothing is cross-validated. The loss is Huber's (Ann. Math. Statist. 35, 1964).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FREE = "free"
"""The kind of a column whose weight is not drawn to zero."""
_FREE_VARIANCE = 1e2
_VARIANCES = tuple(float(value) for value in np.geomspace(1e-6, 0.3, 12))
_NOISES = tuple(float(value) for value in np.geomspace(1e-8, 1e-2, 19))
_SWEEPS, _PASSES = 4, 3
_UNUSUAL = 1.5
"""Standard deviation of the logarithm of a variance around what is usual."""
_HUBER_SIGMAS = 1.345


@dataclass(frozen=True, slots=True)
class Strengths:
    """Variance of the weights of each kind, and that of the noise."""

    variances: tuple[tuple[str, float], ...]
    noise: float

    def columns(self, kinds: Sequence[str]) -> Floats:
        """The variance (P,) of each column."""
        known = {**dict(self.variances), FREE: _FREE_VARIANCE}
        return np.array([known[kind] for kind in kinds])


def strengths(rows: Floats, kinds: Sequence[str], usual: Strengths) -> Strengths:
    """The most probable strengths for targets that are all 1; `rows` (N, P), `kinds` (P,).

    Rows that do not fit get a larger noise (Huber), and the strengths are found again with it.
    """
    names = sorted({kind for kind in kinds if kind != FREE})
    kernels = {name: _kernel(rows, kinds, name) for name in (FREE, *names)}
    start = {name: variance for name, variance in usual.variances if name in names}
    inflation, found = np.ones(len(rows)), Strengths(tuple(start.items()), usual.noise)
    for _ in range(_PASSES):
        found = _coordinate_ascent(kernels, found, inflation, start)
        inflation = solve(rows, kinds, found)[1]
    return found


def solve(rows: Floats, kinds: Sequence[str], given: Strengths) -> tuple[Floats, Floats]:
    """Weights (P,) that bring every row to 1, and the factor (N,) by which the noise of each row is inflated.

    Solved in the space of rows, which are fewer than columns: w = V X' (X V X' + W)^-1 1, with X the rows, V
    the variances and W the noise, times the inflation.
    """
    variance = given.columns(kinds)
    kernel, ones = (rows * variance) @ rows.T, np.ones(len(rows))
    inflation = ones
    for _ in range(8):
        weights = variance * (rows.T @ np.linalg.solve(kernel + np.diag(given.noise * inflation), ones))
        residual = np.abs(1.0 - rows @ weights)
        sigma = 1.4826 * float(np.median(residual)) + 1e-6
        inflation = np.maximum(1.0, residual / (_HUBER_SIGMAS * sigma))
    return np.asarray(weights, dtype=np.float64), inflation


def _kernel(rows: Floats, kinds: Sequence[str], name: str) -> Floats:
    some = rows[:, [kind == name for kind in kinds]]
    return np.asarray(some @ some.T, dtype=np.float64)


def _coordinate_ascent(
    kernels: Mapping[str, Floats], start: Strengths, inflation: Floats, usual: Mapping[str, float]
) -> Strengths:
    """One strength after the other to its best value, the others held, a few times around."""
    variances, noise = dict(start.variances), start.noise

    def unlikely(noise: float, **changed: float) -> float:
        kernel = _FREE_VARIANCE * kernels[FREE] + np.diag(noise * inflation)
        for name, variance in {**variances, **changed}.items():
            kernel = kernel + variance * kernels[name]
        root = np.linalg.cholesky(kernel)
        white = np.linalg.solve(root, np.ones(len(inflation)))
        return float(0.5 * white @ white + np.log(np.diag(root)).sum())

    for _ in range(_SWEEPS):
        noise = min(_NOISES, key=unlikely)
        for name in variances:
            variances[name] = min(
                _VARIANCES,
                key=lambda value: (
                    unlikely(noise, **{name: value}) + 0.5 * (np.log(value / usual[name]) / _UNUSUAL) ** 2
                ),
            )
    return Strengths(tuple(variances.items()), noise)
