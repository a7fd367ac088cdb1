"""Limits that are checked on the engine itself: the bytes of its files, its memory, its energy.

A search can only predict them. What was predicted and what was measured of the engines so far says what to
ask the search for, so that the next engine keeps the limit: by their ratio while one is known, by the line
through them once several are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from ponas_deploy.search.budget import Budget
from ponas_deploy.search.costs import BYTES, ENERGY, MEMORY, CostColumn, cost_column
from ponas_deploy.search.notation import in_megabytes
from ponas_deploy.search.specialize import Specialization, cells_of
from ponas_deploy.tables.latency import LatencyTable
from searchspace.space import Space

PREDICTED: tuple[CostColumn, ...] = (BYTES, MEMORY)
"""What is predicted before anything was built. Energy is not: its power is that of engines (`ENERGY`)."""
_APART = 1.01
"""Predictions that lie no further apart say nothing of a line."""
_BELOW = 0.995
"""What is asked for at the most of what an engine was predicted that was over the limit."""


@dataclass(frozen=True, slots=True)
class CheckedCost:
    """A cost of an engine by the name of its column: what the search said, and what was measured.

    Of energy it said the measured latency, in the unit of its cells (`cost_sources.Measured`).
    """

    name: str
    predicted: float
    measured: float
    limit: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether it is over its limit."""
        return self.limit is not None and self.measured > self.limit

    @property
    def text(self) -> str:
        """What an engine took and may take: `memory 37.2 MB of 30.0 MB`."""
        limit = f" of {amount(self.name, self.limit)}" if self.limit is not None else ""
        return f"{TITLES[self.name]} {amount(self.name, self.measured)}{limit}"


TITLES = {BYTES.name: "size", MEMORY.name: "memory", ENERGY.name: "energy"}


def corrected(budget: Budget, seen: Sequence[Sequence[CheckedCost]]) -> Budget:
    """The budget as the search must be asked for it, by what was seen of engines of the same table."""
    limits = {}
    for name in set(budget) & set(TITLES):
        of_one = [one for costs in seen for one in costs if one.name == name]
        seen_of_it = [(one.predicted, one.measured) for one in of_one]
        unknown = name == ENERGY.name and not seen_of_it
        limits[name] = inf if unknown else predicted_limit(budget[name], seen_of_it)
    return budget.with_limits(**limits) if limits else budget


def predicted_limit(limit: float, seen: Sequence[tuple[float, float]]) -> float:
    """What a prediction may be at the most for a measurement to keep a limit; pairs of both are known."""
    if not seen:
        return limit
    low, high = min(seen), max(seen)
    slope = (high[1] - low[1]) / (high[0] - low[0]) if high[0] > _APART * low[0] else 0.0
    if slope > 0:
        asked = low[0] + (limit - low[1]) / slope
    else:
        asked = limit * min(predicted / measured for predicted, measured in seen)
    over = (_BELOW * predicted for predicted, measured in seen if measured > limit)
    return max(0.0, min([asked, *over]))


def foreseen(chosen: Specialization, table: LatencyTable, space: Space) -> tuple[tuple[str, float], ...]:
    """What the search says of the checked costs of a network that is limited in any of them, by name."""
    names = [column.name for column in PREDICTED if column.name in chosen.budget]
    return tuple((name, cells_of(cost_column(name), table, space).total(chosen.choices)) for name in names)


def amount(name: str, value: float) -> str:
    """A value of a checked column for people, three digits or more: `37.2 MB`, `12.4 mJ`."""
    return cost_column(name).shown(value) if name == ENERGY.name else in_megabytes(value)


def shown(name: str, value: float) -> str:
    """A value of a checked column for people, rounded up so that it can be asked for."""
    return cost_column(name).shown(value, up=True)
