"""Optimal design: which networks to fit a correction on, so that the others are known best afterwards.

A correction has more columns than there are networks, each drawn to zero (`fitting/shrink.py`). The variance
of a network before anything is timed follows from how far columns usually go; timing one network reduces that
of all that have something in common with it. One after the other, the network is taken that reduces the
variance of all of them together most (Bayesian A-optimal design: Chaloner and Verdinelli, Statist. Sci. 10,
1995).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ponas_deploy.fitting.correction import USUAL, Cells, Floats, design
from ponas_deploy.tables.grid import Grid


def most_informative(
    grid: Grid,
    cells: Cells,
    networks: Sequence[tuple[str, ...]],
    count: int,
    known: Sequence[tuple[str, ...]],
) -> list[int]:
    """Places of `count` of the `networks`, the most informative beside those `known` first.

    `grid` and `cells` are (layers, candidates), rough costs are enough.
    """
    columns = design(grid, cells)
    rows = columns.rows(grid, (*known, *networks))
    sums = np.array([grid.total(choices) for choices in (*known, *networks)])
    rows[:, 0] = sums.mean()
    relative = rows / sums[:, None]
    covariance = (relative * USUAL.columns(columns.kinds)) @ relative.T
    left = list(range(len(known), len(sums)))
    for number in range(len(known)):
        covariance = _timed(covariance, number)
    chosen: list[int] = []
    while left and len(chosen) < count:
        gains = (covariance[:, left] ** 2).sum(axis=0) / (covariance.diagonal()[left] + USUAL.noise)
        chosen.append(left.pop(int(np.argmax(gains))))
        covariance = _timed(covariance, chosen[-1])
    return [place - len(known) for place in chosen]


def _timed(covariance: Floats, place: int) -> Floats:
    """The covariance (N, N) of what is not known of the networks, once the one at `place` is timed."""
    shared = covariance[:, place]
    return np.asarray(covariance - np.outer(shared, shared) / (shared[place] + USUAL.noise), dtype=np.float64)
