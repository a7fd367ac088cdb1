"""Choose an architecture: both tables and a budget in, the best network out, its gap to the optimum with it.

Pure: no torch, no clock, no files. The exact search is the default; the paper's genetic algorithm
(section 3.3) is compared with it and says by how much it fell short.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from math import ceil, floor, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.errors import BudgetError, PonasError, TableMismatchError, UnknownNameError
from ponas_deploy.search.constrained import k_best_constrained, smallest_possible
from ponas_deploy.search.frontier import Front, cost_of_least_loss, k_best, pareto_front, total
from ponas_deploy.search.genetic import GeneticSettings, evolve
from ponas_deploy.tables import AccuracyTable, Grid, LatencyTable, SpaceKey
from searchspace.cost import cost_table
from searchspace.space import Space

METHODS = ("exact", "ga")


@dataclass(frozen=True, slots=True)
class Budget:
    """What a network may cost; None where it does not matter. MACs are the paper's FLOPs."""

    latency_ms: float | None = None
    macs: float | None = None
    params: float | None = None
    bytes: float | None = None

    def limits(self) -> dict[str, float]:
        """The constraints that are set, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Specialization:
    """The network chosen for a budget. Every number here is predicted; `gap_pp` is to the exact optimum.

    `evaluations` counts what the genetic algorithm looked at, 0 for the exact search.
    """

    method: str
    optimal: bool
    budget: Budget
    choices: tuple[str, ...]
    predicted_ms: float
    predicted_loss_pp: float
    gap_pp: float | None
    evaluations: int = 0


@dataclass(frozen=True, slots=True)
class _Column:
    values: list[NDArray[np.float64]]
    fixed: float
    limit: float


def front(latency: LatencyTable, accuracy: AccuracyTable) -> Front:
    """The exact Pareto front of latency (ms) and loss (percentage points)."""
    loss = matched_loss(latency, accuracy)
    return pareto_front(latency.grid.arrays(), loss.arrays(), fixed_cost=latency.grid.fixed)


def slowest_useful_ms(latency: LatencyTable, accuracy: AccuracyTable) -> float:
    """Predicted latency of the fastest network among those of least loss: a larger budget buys nothing."""
    loss = matched_loss(latency, accuracy)
    return cost_of_least_loss(latency.grid.arrays(), loss.arrays(), fixed_cost=latency.grid.fixed)


def matched_loss(latency: LatencyTable, accuracy: AccuracyTable) -> Grid:
    """The loss in the latency table's order; TableMismatchError when they are not of one space."""
    if latency.space and accuracy.space and latency.space.fingerprint != accuracy.space.fingerprint:
        raise TableMismatchError(
            f"the latency table is of space '{latency.space.name}' ({latency.space.fingerprint}),"
            f" the accuracy table of '{accuracy.space.name}' ({accuracy.space.fingerprint}):"
            " take two of one space."
        )
    return accuracy.loss.aligned_to(latency.grid, "the accuracy table", "the latency table")


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
    loss = matched_loss(latency, accuracy)
    columns = _columns(latency, budget, space).values()
    found = evolve(
        loss.arrays(),
        [column.values for column in columns],
        [column.limit for column in columns],
        [column.fixed for column in columns],
        settings=settings,
        seed=seed,
    )
    chosen = _solution(latency, loss, budget, found.choices)
    gap = max(0.0, chosen.predicted_loss_pp - best.predicted_loss_pp)
    return replace(chosen, method="ga", optimal=gap == 0.0, gap_pp=gap, evaluations=found.evaluations)


def shortlist(
    latency: LatencyTable,
    accuracy: AccuracyTable,
    budget: Budget,
    count: int,
    *,
    space: Space | None = None,
) -> tuple[Specialization, ...]:
    """The `count` best networks within the budget, least loss first, exactly; fewer where fewer exist."""
    if count < 1:
        raise PonasError(f"a shortlist of {count}: ask for 1 or more.")
    loss = matched_loss(latency, accuracy)
    columns = _columns(latency, budget, space)
    _refuse_impossible(columns, latency)
    limits = list(columns.values())
    if len(limits) == 1:
        only = limits[0]
        found = k_best(only.values, loss.arrays(), only.limit, count, fixed_cost=only.fixed).choices
    else:
        found = k_best_constrained(
            loss.arrays(),
            [column.values for column in limits],
            [column.limit for column in limits],
            [column.fixed for column in limits],
            count,
        )
    if not len(found):
        raise _together_impossible(budget)
    return tuple(_solution(latency, loss, budget, row) for row in found)


def _solution(latency: LatencyTable, loss: Grid, budget: Budget, row: NDArray[np.intp]) -> Specialization:
    """The network at `row`, with the very sums that the search compared."""
    predicted_ms, loss_pp = _sum(latency.grid, row), _sum(loss, row)
    labels = latency.grid.labels(row.tolist())
    return Specialization("exact", True, budget, labels, predicted_ms, loss_pp, gap_pp=0.0)


def _sum(grid: Grid, row: NDArray[np.intp]) -> float:
    chosen = [values[[index]] for values, index in zip(grid.arrays(), row, strict=True)]
    return float(total(chosen, np.zeros_like(row), fixed=grid.fixed))


def _columns(latency: LatencyTable, budget: Budget, space: Space | None) -> dict[str, _Column]:
    limits = budget.limits()
    if not limits:
        raise PonasError("no budget was given: ask for --latency, --flops, --params or --size.")
    columns = {}
    for name, limit in limits.items():
        if name == "latency_ms":
            columns[name] = _Column(latency.grid.arrays(), latency.grid.fixed, limit)
        elif space is None:
            raise PonasError(f"a limit on {name} needs a space that is known: name it with --space.")
        else:
            fixed, grid = _space_grid(latency, space, name)
            columns[name] = _Column(grid.arrays(), fixed, limit)
    return columns


def _space_grid(latency: LatencyTable, space: Space, name: str) -> tuple[float, Grid]:
    if latency.space and latency.space.fingerprint != SpaceKey.of(space).fingerprint:
        raise TableMismatchError(f"the latency table is of space '{latency.space.name}', not '{space.name}'.")
    fixed, values = cost_table(name, space)
    rows = tuple(tuple(float(value) for value in row) for row in values)
    grid = Grid(tuple(layer.name for layer in space.layers), space.labels, rows)
    return float(fixed), grid.aligned_to(latency.grid, f"space '{space.name}'", "the latency table")


def _refuse_impossible(columns: dict[str, _Column], latency: LatencyTable) -> None:
    least = smallest_possible(
        [column.values for column in columns.values()], [column.fixed for column in columns.values()]
    )
    for (name, column), smallest in zip(columns.items(), least, strict=True):
        if column.limit < smallest and not np.isclose(column.limit, smallest, rtol=1e-12, atol=0):
            where = f" on {latency.conditions.device}" if latency.conditions and name == "latency_ms" else ""
            possible = quantity(name, smallest, up=True)
            raise BudgetError(
                f"no architecture meets {quantity(name, column.limit)}{where}: the {_SUPERLATIVE[name]} one"
                f" takes {possible}. Ask for {possible} or more.",
                name,
                column.limit,
                smallest,
            )


def _together_impossible(budget: Budget) -> BudgetError:
    limits = budget.limits()
    text = " and ".join(quantity(name, value) for name, value in limits.items())
    name = next(iter(limits))
    return BudgetError(
        f"no architecture meets {text} together, though each alone can be met: loosen one of them.",
        name,
        limits[name],
        None,
    )


_SUPERLATIVE = {"latency_ms": "fastest", "macs": "cheapest", "params": "smallest", "bytes": "smallest"}
_UNITS = {
    "latency_ms": (1.0, "ms"),
    "macs": (1e6, "M MACs"),
    "params": (1e6, "M parameters"),
    "bytes": (1e6, "MB"),
}


def quantity(name: str, value: float, *, up: bool = False) -> str:
    """A value of a budget for people, four digits; `up` rounds so that the shown value can be asked for."""
    scale, unit = _UNITS[name]
    value = value / scale
    digits = max(0, 3 - floor(log10(abs(value)))) if value else 0
    if up:
        value = ceil(value * 10**digits - 1e-9) / 10**digits
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") + f" {unit}" if digits else f"{value:.0f} {unit}"


def document(solution: Specialization) -> dict[str, Any]:
    """A choice as `ponas specialize --json` prints it."""
    return {
        "method": solution.method,
        "optimal": solution.optimal,
        "budget": solution.budget.limits(),
        "choices": list(solution.choices),
        "predicted_ms": solution.predicted_ms,
        "predicted_loss_pp": solution.predicted_loss_pp,
        "gap_pp": solution.gap_pp,
        "evaluations": solution.evaluations,
    }


def points(found: Front, latency: LatencyTable) -> Iterator[dict[str, object]]:
    """A front as the documents `ponas pareto --json` prints."""
    for cost, loss, row in zip(found.cost, found.loss, found.choices, strict=True):
        yield {
            "latency_ms": float(cost),
            "loss_pp": float(loss),
            "choices": list(latency.grid.labels(row.tolist())),
        }
