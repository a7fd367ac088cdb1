"""A budget as limited columns of a search: cells of each cost, its limit, and what is said of an impossible
one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ponas_deploy.errors import BudgetError, PonasError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.columns import Floats
from ponas_deploy.search.costs import LATENCY, CostColumn, cost_column, limit_options
from ponas_deploy.search.limited import smallest_possible
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.units import budget_doubt
from searchspace.depth import LayerGroups


@dataclass(frozen=True, slots=True)
class LimitedCost:
    """A cost column with its limit and its cells, one array a group of layers."""

    column: CostColumn
    limit: float
    values: list[Floats]
    fixed: float


def limited_costs(
    budget: Budget, cells: Callable[[CostColumn], Grid], groups: LayerGroups
) -> list[LimitedCost]:
    """The columns that a budget limits; PonasError for a budget without a limit."""
    if not budget:
        raise PonasError(f"no budget was given: ask for {limit_options()}.")
    found = []
    for name, limit in budget.items():
        column = cost_column(name)
        grid = cells(column)
        found.append(LimitedCost(column, limit, groups.joined(grid.arrays()), grid.fixed))
    return found


def refuse_impossible(limits: Sequence[LimitedCost], latency: LatencyTable | None = None) -> None:
    """BudgetError for a limit that no network meets, with the least that is possible.

    `latency` is the table of the latency limit: its device is named, and its unit asked for where it may be
    another one.
    """
    device = latency.conditions.device if latency and latency.conditions else ""
    least = smallest_possible([one.values for one in limits], [one.fixed for one in limits])
    for one, smallest in zip(limits, least, strict=True):
        column = one.column
        if one.limit < smallest and not np.isclose(one.limit, smallest, rtol=1e-12, atol=0):
            where = f" on {device}" if device and column.on_device else ""
            possible, but = column.shown(smallest, up=True), _unit_doubt(one, latency)
            raise BudgetError(
                f"no architecture meets {column.shown(one.limit)}{where}: the {column.superlative} one"
                f" takes {possible}. Ask for {possible} or more.{but and f' But {but}'}",
                column.name,
                one.limit,
                smallest,
            )


def _unit_doubt(one: LimitedCost, latency: LatencyTable | None) -> str:
    """Why a latency limit looks mistaken; empty for a table with our measurements: those are in ms."""
    foreign = latency is not None and one.column is LATENCY and not latency.measurements
    return budget_doubt(latency.grid, one.limit) if latency and foreign else ""


def together_impossible(budget: Budget) -> BudgetError:
    """The error for limits that can be met one by one only."""
    name, limit = budget.limits[0]
    return BudgetError(
        f"no architecture meets {' and '.join(budget.texts)} together, though each alone can be met:"
        " loosen one of them.",
        name,
        limit,
        None,
    )
