"""How well a fit predicts networks that had no part in it.

Networks are dealt to folds at random; all rows of one network go to one fold. Ridge and covariance are
chosen again inside every fold's own rows, so that nothing of a held-out row is known. With few rows the
dealing is repeated, because its luck would decide otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ponas_deploy.fitting.design import Floats, Layout
from ponas_deploy.fitting.ranks import RankCorrelation, rank_correlation, spearman
from ponas_deploy.fitting.rows import Rows
from ponas_deploy.fitting.scale import LATENCY, Scale, from_scale
from ponas_deploy.fitting.solve import fit

_FEW, _MANY = 200, 2000

OnStep: TypeAlias = Callable[[int, int, str], None]
"""Called with steps done, steps in total, and what is being done."""


def no_step(done: int, total: int, text: str) -> None:
    """The callback of a caller that wants no progress."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Predictions of held-out rows. `predicted` (dealings, N) in ms or percent, `measured` (N,)."""

    predicted: Floats
    measured: Floats

    def errors(self, relative: bool) -> Floats:
        """Sizes of errors (N,), mean over dealings: in percent of the measured value, or in points."""
        away = np.abs(self.predicted - self.measured)
        return np.asarray((100 * away / self.measured if relative else away).mean(axis=0), dtype=np.float64)

    def p95_error(self, relative: bool) -> float:
        """What 95 % of them are within."""
        return float(np.quantile(self.errors(relative), 0.95))

    @property
    def rms_error(self) -> float:
        """The root mean square of the errors, in points."""
        return float(np.sqrt(np.square(self.predicted - self.measured).mean()))

    @property
    def tau(self) -> RankCorrelation:
        """Kendall's tau with its interval, mean over dealings."""
        found = [rank_correlation(one, self.measured) for one in self.predicted]
        mean = np.mean([(one.tau, one.low, one.high) for one in found], axis=0)
        return RankCorrelation(float(mean[0]), float(mean[1]), float(mean[2]))

    @property
    def spearman(self) -> float:
        """Spearman's rank correlation, mean over dealings."""
        return float(np.mean([spearman(one, self.measured) for one in self.predicted]))


def hold_out(
    rows: Rows,
    layout: Layout,
    priors: Mapping[str, Floats],
    scale: Scale,
    seed: int,
    on_step: OnStep = no_step,
) -> HeldOut:
    """Cross-validated predictions of all rows; `on_step` hears of each fold."""
    problem = rows.problem(scale)
    count = len(problem.target)
    folds = 5 if count > _MANY or layout.size > 400 else 10
    folds = min(folds, count)
    rng = np.random.default_rng(seed)
    dealings, again = list[Floats](), 3 if count <= _FEW else 1
    for dealing in range(again):
        fold = rng.permutation(count) % folds
        predicted = np.empty(count)
        for number in range(folds):
            on_step(dealing * folds + number, again * folds, f"held-out rows, by {scale.text}")
            left_out = fold == number
            model = fit(problem.subset(np.flatnonzero(~left_out)), layout, priors)
            predicted[left_out] = model.predict(problem.cells[left_out])
        if scale == LATENCY:
            predicted = np.maximum(predicted, float(problem.target.min()) / 10)
        dealings.append(from_scale(predicted, scale)[rows.group])
    return HeldOut(np.array(dealings), rows.values)
