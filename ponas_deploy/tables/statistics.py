"""How well measurements repeat, the statistic that repeats best, and rank correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.tables.measurement import MIDDLE, STATISTICS, Measurement

_BADLY_PCT = 1.0
"""As much as a low quantile lies below the middle."""


@dataclass(frozen=True, slots=True)
class Repeatability:
    """What measuring the same things twice differs by: the mean difference, and the rank correlation."""

    difference_pct: float
    tau: float


def repeatability(measurements: Sequence[Measurement], statistic: str) -> Repeatability:
    """What a statistic differs by between odd and even rounds: each half is a measurement of its own."""
    halves = np.array(
        [
            [m.half(start).value_ms(statistic) for start in (0, 1)]
            for m in measurements
            if len(m.rounds_ns) > 1
        ]
    ).reshape(-1, 2)
    if not len(halves):
        return Repeatability(float("inf"), 0.0)
    odd, even = halves.T
    difference = 200 * np.abs(odd - even) / (odd + even)
    return Repeatability(float(difference.mean()), kendall_tau(odd, even))


def choose_statistic(measurements: Sequence[Measurement]) -> str:
    """The statistic of MIDDLE that repeats best; another where those repeat badly and it twice as well.

    First against last rounds was tried too: it compares the interference between them, which hits all alike.
    """
    differ = {name: repeatability(measurements, name).difference_pct for name in STATISTICS}
    middle, best = min(MIDDLE, key=differ.__getitem__), min(differ, key=differ.__getitem__)
    return best if differ[middle] > max(_BADLY_PCT, 2 * differ[best]) else middle


def kendall_tau(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Kendall's tau-b of two columns; 0 where one of them does not vary."""
    upper = np.triu_indices(len(first), 1)
    a, b = (np.sign(column[:, None] - column[None, :])[upper] for column in (first, second))
    pairs = float(np.sqrt((a != 0).sum() * (b != 0).sum()))
    return float((a * b).sum()) / pairs if pairs else 0.0
