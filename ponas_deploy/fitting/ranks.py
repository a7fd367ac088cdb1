"""Rank correlation of many networks, with an interval.

Kendall's tau-b, exact: every pair is compared, block by block, so that 20,000 networks need no more
memory than a few blocks. The interval comes from how much the networks' own concordances scatter
(Daniels and Kendall, Biometrika 34, 1947), on Fisher's scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atanh, sqrt, tanh

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_PAIRS_A_BLOCK = 4_000_000
_NORMAL_95 = 1.96
_RESAMPLES = 2000
_MANY = 1000
"""From so many networks on intervals are not resampled: they are narrow, and pairs are many."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Kendall's tau-b with its 95 % interval."""

    tau: float
    low: float
    high: float


def rank_correlation(first: Floats, second: Floats) -> RankCorrelation:
    """Kendall's tau-b of two columns (N,); 0 where one of them does not vary."""
    count = len(first)
    a, b = (np.unique(column, return_inverse=True)[1].astype(np.int32) for column in (first, second))
    pairs = count * (count - 1) / 2
    untied = sqrt((pairs - _tied(a)) * (pairs - _tied(b)))
    if untied == 0:
        return RankCorrelation(0.0, 0.0, 0.0)
    concordance = _concordance(a, b)
    tau = float(concordance.sum()) / 2 / untied
    scatter = float(np.std(concordance / max(count - 1, 1))) * pairs / untied
    error = 2 * scatter / sqrt(count)
    place = atanh(min(max(tau, -0.9999), 0.9999))
    wide = _NORMAL_95 * error / max(1 - tau * tau, 1e-4)
    return RankCorrelation(tau, tanh(place - wide), max(tau, tanh(place + wide)))


def spearman(first: Floats, second: Floats) -> float:
    """Spearman's rank correlation, ties at their mean rank; 0 where one column does not vary."""
    a, b = mean_ranks(first), mean_ranks(second)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else 0.0


def intervals(first: Floats, second: Floats, seed: int) -> tuple[Interval, Interval]:
    """95 % intervals of Kendall's tau-b and of Spearman's correlation: percentiles over resampled networks.

    A network that a resample holds twice is tied with itself. Each interval holds the value itself.
    """
    tau, rho, count = rank_correlation(first, second), spearman(first, second), len(first)
    if count > _MANY:
        return (tau.low, tau.high), _on_fishers_scale(rho, count)
    drawn = np.random.default_rng(seed).integers(0, count, (_RESAMPLES, count))
    often = np.array([np.bincount(rows, minlength=count) for rows in drawn], dtype=np.float64)
    a, b = (np.sign(column[:, None] - column) for column in (first, second))
    both, of_a, of_b = (((often @ pairs) * often).sum(axis=1) for pairs in (a * b, a * a, b * b))
    taus = both / np.sqrt(np.maximum(of_a * of_b, 1.0))
    rank_a, rank_b = often @ a.T, often @ b.T  # twice a rank in its resample, from the middle; mean zero
    along = (often * rank_a * rank_b).sum(axis=1)
    across = (often * rank_a**2).sum(axis=1) * (often * rank_b**2).sum(axis=1)
    return _percentiles(taus, tau.tau), _percentiles(along / np.sqrt(np.maximum(across, 1.0)), rho)


def _percentiles(values: Floats, own: float) -> Interval:
    low, high = np.quantile(values, (0.025, 0.975))
    return min(float(low), own), max(float(high), own)


def _on_fishers_scale(rho: float, count: int) -> Interval:
    """The interval of Spearman's correlation of many (Bonett and Wright, Psychometrika 65, 2000)."""
    place = atanh(min(max(rho, -0.9999), 0.9999))
    wide = _NORMAL_95 * sqrt((1 + rho * rho / 2) / (count - 3))
    return tanh(place - wide), tanh(place + wide)


def mean_ranks(values: Floats) -> Floats:
    """Ranks from 1, ties at their mean: (N,)."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[inverse], dtype=np.float64)


def _tied(ranks: NDArray[np.int32]) -> float:
    count = np.bincount(ranks).astype(np.float64)
    return float((count * (count - 1)).sum()) / 2


def _concordance(a: NDArray[np.int32], b: NDArray[np.int32]) -> Floats:
    """For each network, how many others it agrees with in both orders, less those it does not."""
    found = np.empty(len(a))
    step = max(1, _PAIRS_A_BLOCK // len(a))
    for start in range(0, len(a), step):
        own_a, own_b = a[start : start + step, None], b[start : start + step, None]
        signs = ((own_a > a).view(np.int8) - (own_a < a).view(np.int8)) * (
            (own_b > b).view(np.int8) - (own_b < b).view(np.int8)
        )
        found[start : start + step] = signs.sum(axis=1, dtype=np.int64)
    return found
