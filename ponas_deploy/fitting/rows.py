"""Rows of a file as numbers: cells, values, and which rows measured the same network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ponas_deploy.fitting.design import Floats, Ints, Layout
from ponas_deploy.fitting.scale import LATENCY, Scale, clock_step, to_scale
from ponas_deploy.fitting.solve import Problem
from ponas_deploy.tables.networks_csv import Networks


@dataclass(frozen=True, slots=True)
class Rows:
    """N rows in file order.

    `cells` (N, L), `values` (N,) in ms or percent, `group` (N,) the number of the network among
    `distinct` different ones.
    """

    cells: Ints
    values: Floats
    group: Ints

    @classmethod
    def of(cls, networks: Networks, layout: Layout) -> Rows:
        """The rows of a file; equal networks share a group."""
        cells = layout.cells(networks.choices)
        number = {row: index for index, row in enumerate(dict.fromkeys(networks.choices))}
        group = np.array([number[row] for row in networks.choices], dtype=np.intp)
        return cls(cells, np.array(networks.values, dtype=np.float64), group)

    @property
    def distinct(self) -> int:
        """How many different networks there are."""
        return int(self.group.max()) + 1

    def problem(self, scale: Scale) -> Problem:
        """The different networks, each with the middle of what was measured of it."""
        target = to_scale(self.values, scale)
        order = np.lexsort((target, self.group))
        repeats = np.bincount(self.group)
        first = np.cumsum(repeats) - repeats
        low, high = order[first + (repeats - 1) // 2], order[first + repeats // 2]
        step = clock_step(self.values) if scale.name != "log-error" else 0.0
        middle = (target[low] + target[high]) / 2
        return Problem(self.cells[order[first]], middle, repeats.astype(np.float64), scale == LATENCY, step)
