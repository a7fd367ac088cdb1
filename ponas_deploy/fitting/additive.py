"""Do sums over layers explain the rows, or do layers interact?

Noise alone is no reason to reject sums, so held-out error is compared with two other things. Networks that
were measured several times say what noise is; what sums leave beyond that is structure. And structure
shows itself without repeats, in residuals that networks alike in pairs of layers share: curvature in the
predicted value (Tukey, Biometrics 5, 1949), products of layers' costs (a maximum of two streams), pairs of
neighbouring layers, any pairs. Each is a quadratic form of the residuals whose size is compared with what
shuffled residuals give; its variance is estimated by moments (Haseman and Elston, Behav. Genet. 2, 1972).

Sums fail where structure is certain and makes up a share of what systematically tells networks apart. And
they fail where one network in twenty is predicted far off, whatever its share: devices whose compiler
drops branches, or whose every launch costs more than its work, are wrong in the tail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.fitting.design import Floats, Ints
from ponas_deploy.fitting.residuals import robust_sigma

LEAST_SHARE = 0.03
"""Structure below this share of the systematic variance does no harm, however certain it is."""
TAIL_PCT = 20.0
"""Latencies of which one in twenty is further off are not predicted by sums."""
LEAST_FREEDOM = 30
"""Rows beyond the rank of the design without which nothing can be said."""
LEAST_REPEATS = 8
"""Repeats without which they say nothing of the noise."""
_SHUFFLES = 400
_SUBSET, _SUBSET_A_CELL, _LARGEST_SUBSET = 1200, 3, 2500
_NOISE_SIGMAS, _LEAST_RATIO = 4.0, 2.0
_OUTLIER_SIGMAS, _LEAST_KEPT = 2.8, 0.8
_TAIL_OF_NOISE = 2.5
"""Standard deviations of noise that 95 % of errors are within: 1.96, and what estimating the cells adds."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What repeating a measurement changes: standard deviation in units of the scale.

    `freedom` counts repeats beyond the first; 0 where no network was measured twice.
    """

    sigma: float
    freedom: int


@dataclass(frozen=True, slots=True)
class Additivity:
    """`structure` is the standard deviation of what sums miss, in units of the scale; `share` its share
    of the systematic variance; `kind` what it looks like. `checked` is false with too few rows. `tail`:
    one network in twenty is far off, which is enough for sums to fail."""

    additive: bool
    checked: bool
    structure: float
    share: float
    kind: str
    tail: bool = False


def with_tail(found: Additivity, p95_error_pct: float, noise: Noise) -> Additivity:
    """The same, and whether held-out errors of latencies have a tail that noise alone has not.

    `p95_error_pct` is what 95 % of them are within, in percent.
    """
    by_noise = _TAIL_OF_NOISE * 100 * noise.sigma if noise.freedom >= LEAST_REPEATS else 0.0
    if p95_error_pct <= max(TAIL_PCT, by_noise):
        return found
    return replace(found, additive=False, tail=True)


def noise_of(values: Floats, scale: Floats, group: Ints, step: float) -> Noise:
    """The noise from repeated rows; `group` (N,) numbers the networks, `step` is the clock's."""
    members = np.bincount(group)
    mean = np.bincount(group, values) / members
    several = members[group] > 1
    size = members[group][several]
    away = (values - mean[group])[several] / scale[several] * np.sqrt(size / (size - 1))
    freedom = int((members - 1).sum())
    least = step / sqrt(12) / float(np.median(scale))
    return Noise(max(robust_sigma(away), least) if freedom else least, freedom)


def check_additivity(
    cells: Ints,
    size: int,
    clipped: Floats,
    scale: Floats,
    predicted: Floats,
    effects: Floats,
    repeats: Floats,
    noise: Noise,
    trend: Floats | None,
) -> Additivity:
    """Check different networks: `cells` (N, L), `clipped` values in units of `scale`, and their repeats."""
    everything = np.arange(len(clipped), dtype=np.intp)
    residuals = _residuals(cells, size, clipped, scale, trend, _subset(everything, size))
    if residuals.freedom < LEAST_FREEDOM:
        return Additivity(True, False, 0.0, 0.0, "")
    systematic = max(float(np.var(predicted)) / float(np.median(scale)) ** 2, 1e-18)
    kind, structure = _patterns(residuals, _kernels(cells, residuals.rows, predicted, scale, effects))
    if noise.freedom >= LEAST_REPEATS:
        kept = _subset(_without_outliers(clipped - predicted / scale), size)
        beyond = _beyond_noise(_residuals(cells, size, clipped, scale, trend, kept), repeats[kept], noise)
        if beyond > structure:
            kind, structure = "more than noise", beyond
    share = structure / (structure + systematic)
    return Additivity(share < LEAST_SHARE, True, sqrt(structure), share, kind if structure > 0 else "")


def _without_outliers(away: Floats) -> Ints:
    """The rows without outliers, which in few rows pass for structure; four of five at least."""
    limit = max(_OUTLIER_SIGMAS * robust_sigma(away), float(np.quantile(np.abs(away), _LEAST_KEPT)))
    return np.asarray(np.flatnonzero(np.abs(away) <= limit), dtype=np.intp)


def _subset(rows: Ints, size: int) -> Ints:
    """As many of the rows as the tests need, at random."""
    most = min(max(_SUBSET, _SUBSET_A_CELL * size), _LARGEST_SUBSET)
    if len(rows) <= most:
        return rows
    chosen = np.random.default_rng(0).choice(rows, most, replace=False)
    return np.asarray(np.sort(chosen), dtype=np.intp)


@dataclass(frozen=True, slots=True)
class _Residuals:
    """`residual` (n,) of `rows` after everything that lies in `basis` (n, rank) was taken out."""

    rows: Ints
    basis: Floats
    residual: Floats

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the residual."""
        return len(self.residual) - int(self.basis.shape[1])


def _residuals(
    cells: Ints, size: int, clipped: Floats, scale: Floats, trend: Floats | None, rows: Ints
) -> _Residuals:
    basis = _basis(cells[rows], size, scale[rows], None if trend is None else trend[rows])
    return _Residuals(rows, basis, _without(basis, clipped[rows]))


def _basis(cells: Ints, size: int, scale: Floats, trend: Floats | None) -> Floats:
    """An orthonormal basis (N, rank) of everything that sums (and a trend) can say."""
    columns = np.zeros((len(cells), size + 1))
    np.put_along_axis(columns, cells, 1.0, axis=1)
    columns[:, size] = 1.0
    columns /= scale[:, None]
    if trend is not None:
        columns = np.column_stack([columns, trend])
    columns /= np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    values, vectors = np.linalg.eigh(columns.T @ columns)
    kept = values > 1e-9 * values[-1]
    return np.asarray(columns @ (vectors[:, kept] / np.sqrt(values[kept])), dtype=np.float64)


def _without(basis: Floats, columns: Floats) -> Floats:
    return np.asarray(columns - basis @ (basis.T @ columns), dtype=np.float64)


def _kernels(
    cells: Ints, rows: Ints, predicted: Floats, scale: Floats, effects: Floats
) -> Iterator[tuple[str, Floats]]:
    """Likenesses of networks (N, N), or columns (N, 1), that structure would follow."""
    chosen, size = cells[rows], len(effects)
    place = predicted[rows] - predicted.mean()
    yield "curvature", (place * place / scale[rows])[:, None]
    costs = effects[chosen] - effects[cells].mean(axis=0)
    yield "products of layers' costs", (costs @ costs.T) ** 2
    same, neighbours = np.zeros((2, len(rows), len(rows)), dtype=np.float32)
    before: NDArray[np.float32] | None = None
    for column in chosen.T.astype(np.int32):
        equal = (column[:, None] == column).astype(np.float32)
        equal /= max(float(equal.mean()), 1 / size)
        same += equal
        if before is not None:
            neighbours += before * equal
        before = equal
    yield "pairs of neighbouring layers", neighbours.astype(np.float64)
    yield "pairs of layers", same.astype(np.float64) ** 2


def _patterns(residuals: _Residuals, kernels: Iterator[tuple[str, Floats]]) -> tuple[str, float]:
    """The kind of structure that residuals certainly have and its variance; nothing where there is none."""
    basis, residual = residuals.basis, residuals.residual
    rng = np.random.default_rng(0)
    leverage = np.maximum(1 - (basis * basis).sum(axis=1), 0.05)
    whitened = residual / np.sqrt(leverage)
    draws = np.array([whitened[rng.permutation(len(whitened))] for _ in range(_SHUFFLES)]).T
    draws = _without(basis, draws)
    draws /= np.linalg.norm(draws, axis=0)
    length = float(np.linalg.norm(residual))
    if length == 0:
        return "", 0.0
    own = residual / length
    names, found, shuffled, variances = [], [], [], []
    for name, kernel in kernels:
        form, forms = _forms(basis, kernel, own, draws)
        names.append(name)
        found.append(form)
        shuffled.append(forms)
        variances.append(_moment(form, forms, residuals.freedom) * length**2 / residuals.freedom)
    heights = np.cbrt(np.maximum(shuffled, 0.0))
    centre, spread = heights.mean(axis=1), heights.std(axis=1) + 1e-12
    tops = ((heights - centre[:, None]) / spread[:, None]).max(axis=0)
    scores = (np.cbrt(np.maximum(found, 0.0)) - centre) / spread
    certain = np.flatnonzero((scores > tops.max()) & (scores > 3.5))
    if not len(certain):
        return "", 0.0
    best = int(certain[np.argmax([variances[index] for index in certain])])
    return names[best], variances[best]


def _forms(basis: Floats, kernel: Floats, own: Floats, draws: Floats) -> tuple[float, Floats]:
    """The quadratic form of the residual, and those of shuffled ones; a column is its own square."""
    if kernel.shape[1] == 1:
        column = _without(basis, kernel[:, 0])
        column = column / (np.linalg.norm(column) + 1e-300)
        return float(column @ own) ** 2, (column @ draws) ** 2
    return float(own @ kernel @ own), (draws * (kernel @ draws)).sum(axis=0)


def _moment(form: float, forms: Floats, freedom: int) -> float:
    """The share of the residual variance that a kernel explains, by moments.

    Shuffled residuals of length one have mean form tr(M) / n and variance 2 |M|^2 / n^2 nearly, which
    gives the form of pure structure: |M|^2 / tr(M).
    """
    mean, variance = float(forms.mean()), float(forms.var())
    pure = (variance * freedom / 2 + mean * mean) / max(mean, 1e-300)
    return min(max((form - mean) / max(pure - mean, 1e-300), 0.0), 1.0)


def _beyond_noise(residuals: _Residuals, repeats: Floats, noise: Noise) -> float:
    """The variance that sums leave beyond the noise of repeated rows, 0 where that is not certain."""
    if residuals.freedom < LEAST_FREEDOM or noise.sigma <= 0:
        return 0.0
    count = len(residuals.residual)
    found = robust_sigma(residuals.residual * np.sqrt(repeats)) ** 2 * count / residuals.freedom
    ratio = found / noise.sigma**2
    error = 2.3 * sqrt(1 / residuals.freedom + 1 / noise.freedom)
    if ratio < _LEAST_RATIO or np.log(ratio) < _NOISE_SIGMAS * error:
        return 0.0
    return (ratio - 1) * noise.sigma**2 * float(np.mean(1 / repeats))
