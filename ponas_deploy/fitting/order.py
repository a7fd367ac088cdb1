"""Do the residuals follow the order of the rows? Then the machine changed while it was measured.

Three tests of residuals against the row number, each with a size that it must have besides: Spearman's
rank correlation, slow waves (the first cosines, which hold trends, steps and warm-ups), and the
correlation of neighbours. Rows that are not in the order of measuring cannot be checked, and are not:
rows sorted by their value, or put in order of their labels where sums do not explain them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from ponas_deploy.fitting.design import Floats, Ints
from ponas_deploy.fitting.ranks import spearman
from ponas_deploy.fitting.residuals import Residualizer, tail_of_chi_square, tail_of_normal

LEVEL = 0.0005
"""Each test's own chance of a false alarm."""
LEAST_CORRELATION, LEAST_SHARE, LEAST_NEIGHBOURS = 0.1, 0.03, 0.15
_WAVES = 6
_ROWS_A_WAVE = 8


@dataclass(frozen=True, slots=True)
class Order:
    """What the order of rows explains.

    `share` of the residual variance that slow waves explain, `trend` (N,) the fitted waves in units of the
    scale. `sorted_by` is why the order was not checked, empty where it was.
    """

    drift: bool
    share: float
    trend: Floats
    sorted_by: str = ""

    @property
    def span(self) -> float:
        """From the lowest to the highest place of the trend, in units of the scale."""
        return float(np.ptp(self.trend))


def check_order(values: Floats, clipped: Floats, residuals_of: Residualizer, freedom: float) -> Order:
    """Test the rows' order. `values` (N,) as measured, `clipped` in units of the scale; both in file order.

    `freedom` is how many rows the effects leave over. Below half of them residuals depend on each other
    too much for two of the tests, and only slow waves are tested, whose test knows how they do.
    """
    count = len(values)
    steps = np.diff(values)
    if (steps >= 0).all() or (steps <= 0).all():
        return Order(False, 0.0, np.zeros(count), "value")
    residual = residuals_of(clipped)
    waves = _waves(count)
    left = np.array([residuals_of(wave) for wave in waves])
    trend, share, likely = _explained(waves, left, clipped, residual)
    rank = spearman(residual, left[0])
    neighbours = float(residual[1:] @ residual[:-1]) / float(residual @ residual or 1.0)
    slow = likely < LEVEL and share >= LEAST_SHARE
    level = abs(rank) >= LEAST_CORRELATION and _certain(rank, freedom)
    near = neighbours >= LEAST_NEIGHBOURS and _certain(neighbours, freedom)
    found = slow or (freedom > count / 2 and (level or near))
    sorted_by = "labels" if in_order_of_labels(residuals_of.cells) else ""
    return Order(bool(found), share, trend, sorted_by)


def _certain(correlation: float, freedom: float) -> bool:
    return tail_of_normal(correlation * sqrt(max(freedom, 1.0))) < LEVEL


def _waves(count: int) -> Floats:
    """The first cosines over the rows, (K, N), an even number of them."""
    number = max(2, min(_WAVES, count // _ROWS_A_WAVE // 2 * 2))
    place = (np.arange(count) + 0.5) / count
    return np.array([np.cos(np.pi * wave * place) for wave in range(1, number + 1)])


def _explained(waves: Floats, left: Floats, clipped: Floats, residual: Floats) -> tuple[Floats, float, float]:
    """The fitted waves, their share of the residual variance, and the chance of that much by accident.

    The likelihood ratio with Bartlett's correction, chi-square with as many degrees as there are waves.
    """
    system, moments = waves @ left.T, waves @ residual
    weights = np.linalg.lstsq(system, moments, rcond=1e-6)[0]
    before = float(clipped @ residual)
    share = min(max(float(weights @ moments) / before, 0.0), 0.999999) if before > 0 else 0.0
    freedom = len(residual) - 1 - (len(waves) + 1) / 2
    ratio = -max(freedom, 1.0) * log(1 - share)
    return weights @ waves, share, tail_of_chi_square(ratio, len(waves))


def in_order_of_labels(cells: Ints) -> bool:
    """Whether neighbouring rows share more labels than rows at random do."""
    rng = np.random.default_rng(0)
    near = (cells[1:] == cells[:-1]).sum(axis=1)
    far = (cells == cells[rng.permutation(len(cells))]).sum(axis=1)
    error = sqrt(float(near.var() / len(near) + far.var() / len(far)))
    away = float(near.mean() - far.mean())
    return away > 4 * error and away > 0.05 * cells.shape[1]
