"""Which networks to fit a correction on: those after which least is in doubt about all the others.

A correction has more columns than there are networks, each drawn to zero (`calibrate`, `shrink`). What is
in doubt about a network before anything is timed follows from how far columns usually go; timing one network
takes away what others have in common with it. One after the other, the network is taken that takes most away
from all of them together (Bayesian A-optimal design: Chaloner and Verdinelli, Statist. Sci. 10, 1995).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ponas_deploy.fitting.correction import USUAL, Cells, Floats, design
from ponas_deploy.tables import Grid


def most_informative(
    grid: Grid,
    cells: Cells,
    networks: Sequence[tuple[str, ...]],
    count: int,
    known: Sequence[tuple[str, ...]],
) -> list[int]:
    """Places of `count` of the `networks`, in the order in which they tell most beside those `known`.

    `grid` and `cells` are (layers, candidates), rough costs are enough.
    """
    columns = design(grid, cells)
    rows = columns.rows(grid, (*known, *networks))
    sums = np.array([grid.total(choices) for choices in (*known, *networks)])
    rows[:, 0] = sums.mean()
    relative = rows / sums[:, None]
    doubt = (relative * USUAL.columns(columns.kinds)) @ relative.T
    left = list(range(len(known), len(sums)))
    for number in range(len(known)):
        doubt = _timed(doubt, number)
    chosen: list[int] = []
    while left and len(chosen) < count:
        gains = (doubt[:, left] ** 2).sum(axis=0) / (doubt.diagonal()[left] + USUAL.noise)
        chosen.append(left.pop(int(np.argmax(gains))))
        doubt = _timed(doubt, chosen[-1])
    return [place - len(known) for place in chosen]


def _timed(doubt: Floats, place: int) -> Floats:
    """The covariance (N, N) of what is not known of the networks, once the one at `place` is timed."""
    shared = doubt[:, place]
    return np.asarray(doubt - np.outer(shared, shared) / (shared[place] + USUAL.noise), dtype=np.float64)
