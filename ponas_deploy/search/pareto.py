"""The Pareto front of two tables: every network that no other beats in both latency and loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ponas_deploy.search.frontier import Front, exact_front
from ponas_deploy.search.specialize import groups_of, matched_loss, refuse_swamping
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A network of a front: predicted latency in ms, predicted loss in percentage points, a label a layer."""

    latency_ms: float
    loss_pp: float
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ParetoFront:
    """The non-dominated set: latency ascends, loss strictly descends.

    Complete where both gaps are 0. Else every network of the complete set has one here that takes at most
    `latency_gap_pct` longer and loses at most `loss_gap_pp` more.
    """

    points: tuple[FrontPoint, ...]
    latency_gap_pct: float = 0.0
    loss_gap_pp: float = 0.0

    @classmethod
    def of(cls, found: Front, grid: Grid) -> ParetoFront:
        """A front of candidate indices with the labels of `grid`."""
        layers = [
            np.array(labels, dtype=object)[found.choices[:, layer]]
            for layer, labels in enumerate(grid.candidates)
        ]
        rows = zip(found.cost.tolist(), found.loss.tolist(), zip(*layers, strict=True), strict=True)
        points = tuple(FrontPoint(cost, loss, choices) for cost, loss, choices in rows)
        return cls(points, 100 * found.cost_gap, found.loss_gap)


def pareto_front(table: LatencyTable, losses: AccuracyTable) -> ParetoFront:
    """Compute the Pareto front of a whole space, however many networks it holds (PONAS, equation 5).

    Args:
        table: latencies of the space's cells, in milliseconds.
        losses: losses of the same cells, in percentage points of top-1; at the table's resolution where they
            say what it loses.

    Returns: the non-dominated set, the fastest network first; complete, or with its gap where there are
    millions of points to merge.

    Raises: TableMismatchError for tables of two spaces, PonasError for a cell too large to be added up
    exactly, by its layer and candidate.
    """
    known = losses.brought_to(table.space.resolution) if table.space else losses
    return ParetoFront.of(front(table, known), table.grid)


def front(latency: LatencyTable, accuracy: AccuracyTable) -> Front:
    """The same as arrays, the candidates by their indices in the latency table."""
    loss = matched_loss(latency, accuracy)
    refuse_swamping(latency.grid, "latency table")
    refuse_swamping(loss, "accuracy table")
    groups = groups_of(latency, accuracy)
    cost, lost = groups.joined(latency.grid.arrays()), groups.joined(loss.arrays())
    found = exact_front(cost, lost, fixed_cost=latency.grid.fixed)
    return replace(found, loss=found.loss + loss.fixed, choices=groups.choices(found.choices))
