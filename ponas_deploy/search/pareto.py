"""The exact Pareto front of two tables: every network that no other beats in both latency and loss."""

from __future__ import annotations

from dataclasses import dataclass

from ponas_deploy.search.frontier import Front, exact_front
from ponas_deploy.search.specialize import matched_loss
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
    """The complete non-dominated set: latency ascends, loss strictly descends."""

    points: tuple[FrontPoint, ...]

    @classmethod
    def of(cls, found: Front, grid: Grid) -> ParetoFront:
        """A front of candidate indices with the labels of `grid`."""
        rows = zip(found.cost.tolist(), found.loss.tolist(), found.choices.tolist(), strict=True)
        return cls(tuple(FrontPoint(cost, loss, grid.labels(row)) for cost, loss, row in rows))


def pareto_front(table: LatencyTable, losses: AccuracyTable) -> ParetoFront:
    """Compute the exact Pareto front of a whole space, however many networks it holds (PONAS, equation 5).

    Args:
        table: latencies of the space's cells, in milliseconds.
        losses: losses of the same cells, in percentage points of top-1.

    Returns: the complete non-dominated set, the fastest network first.

    Raises: TableMismatchError for tables of two spaces, PonasError for a cell too large to be added up
    exactly.
    """
    return ParetoFront.of(front(table, losses), table.grid)


def front(latency: LatencyTable, accuracy: AccuracyTable) -> Front:
    """The same as arrays, the candidates by their indices in the latency table."""
    loss = matched_loss(latency, accuracy)
    return exact_front(latency.grid.arrays(), loss.arrays(), fixed_cost=latency.grid.fixed)
