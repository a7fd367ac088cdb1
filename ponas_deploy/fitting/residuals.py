"""The residuals of the rows when sums are taken out, in the form that tests need.

A test of the residuals must not mistake for a pattern what the fit itself left there: every column that
is tested (row number, curvature, ...) has the sums taken out in the same way, with the same ridge. With
the ridge that was fitted this is generalised least squares under the prior of the effects; with none it
is a projection.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, exp, sqrt

import numpy as np

from ponas_deploy.fitting.design import Floats, Ints, counts, sums
from ponas_deploy.fitting.solve import Problem

_CLIP_SIGMAS = 3.0


@dataclass(frozen=True, slots=True)
class Residualizer:
    """Takes sums over layers out of columns (N,), each row divided by `scale`."""

    cells: Ints
    scale: Floats
    share: Floats
    inverse: Floats
    constant: Floats

    @classmethod
    def of(cls, cells: Ints, scale: Floats, penalty: Floats) -> Residualizer:
        """`penalty` (P, P): the ridge times the inverse covariance of effects."""
        weights = 1 / (scale * scale)
        total = float(weights.sum())
        gram = counts(cells, len(penalty), weights)
        each = np.diag(gram).copy()
        mean_weight = total / len(scale)
        system = gram - np.outer(each, each / total) + mean_weight * penalty
        return cls(
            cells,
            scale,
            each / total,
            np.asarray(np.linalg.pinv(system, hermitian=True), dtype=np.float64),
            weights / total,
        )

    def __call__(self, column: Floats) -> Floats:
        """A column in units of the scale, (N,), without what sums explain of it."""
        target = column * self.scale
        away = target - float(self.constant @ target)
        moments = sums(self.cells, len(self.inverse), away / (self.scale * self.scale))
        effects = self.inverse @ moments
        fitted = effects[self.cells].sum(axis=1) - float(self.share @ effects)
        return np.asarray((away - fitted) / self.scale, dtype=np.float64)


def clip_outliers(problem: Problem, predicted: Floats) -> tuple[Floats, Floats]:
    """Values in units of their scale with outliers drawn in to three sigmas (Huber's pseudo-values).

    Returns them and the scale, both (N,).
    """
    scale = problem.scale(predicted)
    away = (problem.target - predicted) / scale
    sigma = max(robust_sigma(away), problem.step / float(np.median(scale)) / 2, 1e-9)
    return predicted / scale + np.clip(away, -_CLIP_SIGMAS * sigma, _CLIP_SIGMAS * sigma), scale


def robust_sigma(values: Floats) -> float:
    """A standard deviation around zero from the median of sizes."""
    return 1.4826 * float(np.median(np.abs(values)))


def tail_of_normal(value: float) -> float:
    """The chance of a standard normal beyond +-|value|."""
    return erfc(abs(value) / sqrt(2))


def tail_of_chi_square(value: float, freedom: int) -> float:
    """The chance of a chi-square beyond `value`, for one or an even number of degrees of freedom."""
    if freedom == 1:
        return erfc(sqrt(max(value, 0.0) / 2))
    half, term, found = min(value / 2, 700.0), 1.0, 1.0
    for number in range(1, freedom // 2):
        term *= half / number
        found += term
    return min(1.0, exp(-half) * found)
