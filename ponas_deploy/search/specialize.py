"""Choose an architecture: both tables and a budget in, the best network out, its gap to the optimum with it.

Pure: no torch, no clock, no files. The exact search is the default; the paper's genetic algorithm
(section 3.3) is compared with it and says by how much it fell short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from ponas_deploy.errors import BudgetError, PonasError, TableMismatchError, UnknownNameError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.columns import ROUNDING, cost_of_least_loss, swamping_cell, total
from ponas_deploy.search.constrained import find_best
from ponas_deploy.search.costs import LATENCY, CostColumn, cost_column
from ponas_deploy.search.genetic import GeneticSettings, evolve
from ponas_deploy.search.limited import smallest_possible
from ponas_deploy.search.limits import LimitedCost, limited_costs, refuse_impossible, together_impossible
from ponas_deploy.search.notation import Limit
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.depth import layer_groups
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.spaces import ruling_space, space_of
from ponas_deploy.tables.top1 import PredictedTop1
from searchspace.depth import LayerGroups
from searchspace.space import Space

METHODS = ("exact", "ga")


@dataclass(frozen=True, slots=True)
class Specialization:
    """The network chosen for a budget. Every number here is predicted; no network loses `gap_pp` less.

    `optimal` where that is proven to be 0: up to 1e-12 of the greatest loss, see `search.constrained`.

    `evaluations` counts what the genetic algorithm checked against the limits, 0 for the exact search.
    `predicted_top1` is there where the accuracy table says which top-1 a loss is, `resolution` (pixels) where
    the latency table says it.
    """

    method: str
    optimal: bool
    budget: Budget
    choices: tuple[str, ...]
    predicted_ms: float
    predicted_loss_pp: float
    gap_pp: float | None
    evaluations: int = 0
    predicted_top1: PredictedTop1 | None = None
    resolution: int | None = None

    @property
    def compared_pp(self) -> float:
        """The loss as it is compared across resolutions: top-1 below 0 where predicted, else the loss."""
        return -self.predicted_top1.pct if self.predicted_top1 else self.predicted_loss_pp


def slowest_useful_ms(latency: LatencyTable, accuracy: AccuracyTable) -> float:
    """Predicted latency of the fastest network among those of least loss: a larger budget buys nothing."""
    return most_useful(LATENCY, latency, accuracy)


def most_useful(
    column: CostColumn, latency: LatencyTable, accuracy: AccuracyTable, space: Space | None = None
) -> float:
    """The least that a network of least loss costs, in the column's unit: a larger budget buys nothing."""
    cells, loss = cells_of(column, latency, space), matched_loss(latency, accuracy)
    refuse_swamping(loss, "accuracy table")
    groups = groups_of(latency, accuracy)
    return cost_of_least_loss(
        groups.joined(cells.arrays()), groups.joined(loss.arrays()), fixed_cost=cells.fixed
    )


def least_possible(
    column: CostColumn, latency: LatencyTable, accuracy: AccuracyTable, space: Space | None = None
) -> float:
    """What the network that costs least costs, in the column's unit: no budget below can be met."""
    cells = cells_of(column, latency, space)
    joined = groups_of(latency, accuracy).joined(cells.arrays())
    return smallest_possible([joined], [cells.fixed])[0]


def counted_at(
    latency: LatencyTable,
    space: Space | None,
    limits: Mapping[str, Limit],
    resolution: int | None,
    classes: int | None,
) -> str:
    """What networks counted limits are counted on, where neither the table nor anybody says; else empty."""
    counted = [name for name in limits if not cost_column(name).on_device]
    said = latency.space is not None or (resolution and classes)
    return "" if not counted or space is None or said else counted_text(counted, space)


def counted_text(names: Sequence[str], space: Space) -> str:
    """On what networks costs are counted, by their names, where nobody said it."""
    return (
        f"{' and '.join(names)} are counted at {space.resolution} px and {space.classes} classes:"
        " --resolution and --classes change that."
    )


def matched_loss(latency: LatencyTable, accuracy: AccuracyTable) -> Grid:
    """The loss in the latency table's order; TableMismatchError when they are not of one space."""
    if latency.space and accuracy.space and latency.space.fingerprint != accuracy.space.fingerprint:
        raise TableMismatchError(
            f"the latency table is of space '{latency.space.name}' ({latency.space.fingerprint}),"
            f" the accuracy table of '{accuracy.space.name}' ({accuracy.space.fingerprint}):"
            " take two of one space."
        )
    return accuracy.loss.aligned_to(latency.grid, "the accuracy table", "the latency table")


def groups_of(latency: LatencyTable, accuracy: AccuracyTable) -> LayerGroups:
    """The layers of the latency table in the groups that a search chooses independently of each other."""
    return layer_groups(latency.grid, ruling_space(latency) or ruling_space(accuracy))


def specialize(
    latency: LatencyTable,
    accuracy: AccuracyTable,
    budget: Budget,
    *,
    space: Space | None = None,
    method: str = "exact",
    seed: int = 0,
    settings: GeneticSettings | None = None,
) -> Specialization:
    """The network of least loss within the budget.

    `space` is needed for limits on MACs, parameters or bytes. BudgetError when nothing fits: it names the
    least that is possible.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    best = shortlist(latency, accuracy, budget, 1, space=space)[0]
    if method == "exact":
        return best
    loss, groups = matched_loss(latency, accuracy), groups_of(latency, accuracy)
    limits = _limited(latency, budget, space, groups)
    found = evolve(
        groups.joined(loss.arrays()),
        [one.values for one in limits],
        [one.limit for one in limits],
        [one.fixed for one in limits],
        settings=settings,
        seed=seed,
    )
    chosen = network_at(latency, accuracy, loss, budget, groups.choices(found.choices))
    gap = max(0.0, chosen.predicted_loss_pp - best.predicted_loss_pp + (best.gap_pp or 0.0))
    return replace(chosen, method="ga", optimal=gap == 0.0, gap_pp=gap, evaluations=found.evaluations)


def shortlist(
    latency: LatencyTable,
    accuracy: AccuracyTable,
    budget: Budget,
    count: int,
    *,
    space: Space | None = None,
) -> tuple[Specialization, ...]:
    """The `count` best networks within the budget, least loss first; fewer where fewer exist.

    Each with what is proven of its place: `gap_pp` is how much less another that is not before it could lose.
    """
    if count < 1:
        raise PonasError(f"a shortlist of {count}: ask for 1 or more.")
    loss, groups = matched_loss(latency, accuracy), groups_of(latency, accuracy)
    refuse_swamping(loss, "accuracy table")
    limits = _limited(latency, budget, space, groups)
    refuse_impossible(limits, latency)
    found = find_best(
        groups.joined(loss.arrays()),
        [one.values for one in limits],
        [one.limit for one in limits],
        [one.fixed for one in limits],
        count,
    )
    if not len(found.choices):
        raise together_impossible(budget)
    solutions = [network_at(latency, accuracy, loss, budget, row) for row in groups.choices(found.choices)]
    gaps = [found.gap(index) for index in range(len(solutions))]
    return tuple(
        replace(one, gap_pp=gap, optimal=gap == 0.0) for one, gap in zip(solutions, gaps, strict=True)
    )


def within_latency(chosen: Specialization, latency: LatencyTable, budget: Budget) -> Specialization:
    """A network that was chosen elsewhere, by this table; BudgetError where the table says it is too slow."""
    predicted_ms = latency.predict_ms(chosen.choices)
    limit_ms = budget.latency_ms
    if limit_ms is not None and predicted_ms > limit_ms * (1 + 4 * ROUNDING):
        where = f" on {latency.conditions.device}" if latency.conditions else ""
        raise BudgetError(
            f"the network that was chosen takes {LATENCY.shown(predicted_ms, up=True)}{where}, over"
            f" {LATENCY.shown(limit_ms)}.",
            LATENCY.name,
            limit_ms,
            predicted_ms,
        )
    return replace(chosen, budget=budget, predicted_ms=predicted_ms)


def refuse_swamping(grid: Grid, table: str) -> None:
    """PonasError for a cell beside which the others could not be added up exactly."""
    place = swamping_cell(grid.arrays(), grid.fixed)
    if place is not None:
        layer, candidate = place
        cell = f"layer '{grid.layers[layer]}', candidate '{grid.candidates[layer][candidate]}'"
        raise PonasError(
            f"{cell} of the {table} is {grid.values[layer][candidate]:g}, too large to be added up exactly"
            " with the others: leave such a candidate out."
        )


def network_at(
    latency: LatencyTable, accuracy: AccuracyTable, loss: Grid, budget: Budget, row: NDArray[np.intp]
) -> Specialization:
    """The network at `row`, with the very sums that the search compared."""
    predicted_ms, loss_pp = _sum(latency.grid, row), _sum(loss, row)
    labels = latency.grid.labels(row.tolist())
    top1 = accuracy.predicted_top1(loss_pp)
    resolution = latency.space.resolution if latency.space else None
    return Specialization(
        "exact", True, budget, labels, predicted_ms, loss_pp, 0.0, predicted_top1=top1, resolution=resolution
    )


def _sum(grid: Grid, row: NDArray[np.intp]) -> float:
    chosen = [values[[index]] for values, index in zip(grid.arrays(), row, strict=True)]
    return float(total(chosen, np.zeros_like(row), fixed=grid.fixed))


def _limited(
    latency: LatencyTable, budget: Budget, space: Space | None, groups: LayerGroups
) -> list[LimitedCost]:
    return limited_costs(budget, lambda column: cells_of(column, latency, space), groups)


def cells_of(column: CostColumn, latency: LatencyTable, space: Space | None) -> Grid:
    """What every candidate costs, in the latency table's order; PonasError where it takes a space."""
    cells = column.source.cells(latency, space) or column.source.cells(latency, space_of(latency))
    if cells is None:
        raise PonasError(f"a limit on {column.name} needs a space that is known: name it with --space.")
    return cells


@dataclass(frozen=True, slots=True)
class SpecializationDocument:
    """See `Specialization`; `budget` holds the limits by the names of their cost columns.

    `predicted_top1_pct`, and what it is of, are absent where the accuracy table only ranks, `resolution` (of
    the input, in pixels) where the latency table does not say it.
    """

    method: str
    optimal: bool
    budget: Mapping[str, float]
    choices: tuple[str, ...]
    predicted_ms: float
    predicted_loss_pp: float
    gap_pp: float | None
    evaluations: int
    predicted_top1_pct: float | UnsetType = field(default=UNSET, kw_only=True)
    predicted_top1_of: str | UnsetType = field(default=UNSET, kw_only=True)
    resolution: int | UnsetType = field(default=UNSET, kw_only=True)


def specialization_document(solution: Specialization) -> SpecializationDocument:
    """A choice as `ponas specialize --json` prints it."""
    return SpecializationDocument(
        solution.method,
        solution.optimal,
        dict(solution.budget),
        solution.choices,
        solution.predicted_ms,
        solution.predicted_loss_pp,
        solution.gap_pp,
        solution.evaluations,
        predicted_top1_pct=solution.predicted_top1.pct if solution.predicted_top1 else UNSET,
        predicted_top1_of=solution.predicted_top1.of if solution.predicted_top1 else UNSET,
        resolution=solution.resolution or UNSET,
    )
