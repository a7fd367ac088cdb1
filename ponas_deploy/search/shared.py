"""One architecture for several devices: the least loss that keeps the limit of every device, exactly.

A device may have several tables, one a runtime and precision, and runs a network by whichever is fastest: it
keeps its limit where any of its tables says so. The networks that keep all limits are thus a union, over the
combinations of one table a device, of networks within several limits (`constrained.find_best`). Branch and
bound over these combinations: the best within the limits of some devices bounds whatever keeps those of all,
and where it happens to keep them it is the optimum, with no combination of the others tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf
from typing import TypeAlias

import numpy as np

from ponas_deploy.search.columns import ROUNDING, ExactColumn, Floats, Indices, same_shapes
from ponas_deploy.search.constrained import find_best
from searchspace.errors import PonasError


@dataclass(frozen=True, slots=True)
class Cells:
    """An additive cost: one array (n_l,) a layer, and what all networks have besides."""

    values: Sequence[Floats]
    fixed: float = 0.0

    def total(self, choices: Indices, limit: float) -> float:
        """What the network `choices` (L,) costs, where that is within `limit`; infinity else."""
        exact = ExactColumn.of(self.values, self.fixed, limit)
        units = exact.totals(choices)
        return float(exact.values(units)) if units <= exact.limit(limit) else inf


@dataclass(frozen=True, slots=True)
class Limited:
    """A limit, and the tables of which one must say that it is kept: those of a device, or a counted cost."""

    tables: Sequence[Cells]
    limit: float

    def fastest(self, choices: Indices) -> int | None:
        """The place of the table by which the network costs least; None where no table keeps the limit."""
        totals = [table.total(choices, self.limit) for table in self.tables]
        least = min(range(len(totals)), key=totals.__getitem__)
        return least if totals[least] < inf else None


@dataclass(frozen=True, slots=True)
class SharedBest:
    """The best network that keeps all limits: its `choices` (L,), its loss, the table for each limit.

    No network that keeps them loses `gap` less; 0 is proven to be the optimum.
    """

    choices: Indices
    loss: float
    gap: float
    tables: tuple[int, ...]


_Node: TypeAlias = tuple[float, tuple[int, ...]]
"""A bound of the loss, and the tables that the limits, in the order of the search, are held to so far."""


def best_shared(loss: Sequence[Floats], limits: Sequence[Limited]) -> SharedBest | None:
    """The network of least loss that keeps every limit, by any of the limit's tables; None without one.

    Raises as `find_best` does.
    """
    same_shapes([loss, *(table.values for one in limits for table in one.tables)])
    alone = [[_least(loss, table, one.limit) for table in one.tables] for one in limits]
    order = sorted(range(len(limits)), key=lambda place: -min(alone[place]))  # the hardest to keep first
    bounds, ordered = [alone[place] for place in order], [limits[place] for place in order]
    nodes: list[_Node] = [(bound, (table,)) for table, bound in enumerate(bounds[0]) if bound < inf]
    heapify(nodes)
    best, outside, unsolved = None, inf, None
    while nodes:
        bound, held = heappop(nodes)
        if best is not None and bound >= best.loss:
            break
        costs = [one.tables[table] for one, table in zip(ordered, held, strict=False)]
        most = [one.limit for one in ordered[: len(held)]]
        try:
            found = find_best(loss, [one.values for one in costs], most, [one.fixed for one in costs], 1)
        except PonasError as error:  # neither a network nor the proof that there is none
            unsolved, outside = error, min(outside, bound)
            continue
        if not len(found.choices):
            continue
        least = max(bound, float(found.loss[0]) - found.gap(0))
        tables = _tables(limits, found.choices[0])
        if tables is not None and (best is None or found.loss[0] < best.loss):
            best = SharedBest(found.choices[0], float(found.loss[0]), 0.0, tables)
        if len(held) == len(ordered):
            outside = min(outside, least)
            continue
        for table, own in enumerate(bounds[len(held)]):
            if own < inf:
                heappush(nodes, (max(least, own), (*held, table)))
    if best is None and unsolved is not None:
        raise unsolved
    return best and _proven(best, outside)


def _least(loss: Sequence[Floats], table: Cells, limit: float) -> float:
    """No network within a limit loses less than this; infinity where there is none."""
    found = find_best(loss, [table.values], [limit], [table.fixed], 1)
    return float(found.loss[0]) - found.gap(0) if len(found.choices) else inf


def _tables(limits: Sequence[Limited], choices: Indices) -> tuple[int, ...] | None:
    """The fastest table of each limit; None where one is not kept."""
    tables = [one.fastest(choices) for one in limits]
    return None if None in tables else tuple(table for table in tables if table is not None)


def _proven(best: SharedBest, outside: float) -> SharedBest:
    gap = max(0.0, best.loss - outside)
    proven = gap <= 2 * ROUNDING * max(1.0, abs(best.loss))
    return SharedBest(best.choices, best.loss, 0.0 if proven else gap, best.tables)


def least_of(place: int, limits: Sequence[Limited]) -> float | None:
    """The least that any network costs under the limit at `place` while it keeps all the others.

    None where the others cannot be kept together either.
    """
    one, others = limits[place], [*limits[:place], *limits[place + 1 :]]
    found = [
        (shared.loss + table.fixed)
        for table in one.tables
        if (shared := best_shared([np.asarray(row) for row in table.values], others)) is not None
    ]
    return min(found, default=None)
