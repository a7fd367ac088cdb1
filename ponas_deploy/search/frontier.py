"""The exact Pareto front of a search space whose cost and loss are sums over its layers.

Accuracy loss adds over layers (PONAS, section 3.3, equation 5) and so do latency, MACs and parameters, so
choosing one candidate a layer is a multiple-choice knapsack. Merging the layers one by one and dropping
every partial sum that another one beats leaves the whole front, in milliseconds for 12^19 networks
(Nemhauser and Ullmann, 1969).

Sums are exact. Every table is first put on a decimal grid of 15 digits, so that a total is a whole number
of units below 2^53 and does not depend on the order of adding: 0.1 + 0.2 is 0.3, and a tie is a tie.
A cell so large that the grid would round the others away (1e16, to forbid a candidate) is refused by its
place, or, where a budget is known, cut to just above what the budget can pay for.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from searchspace.errors import PonasError

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]

ROUNDING = 1e-12
"""Relative difference below which two totals are the same number, added up differently."""

_GRID_DIGITS = 15
_LEAST_TOTAL = 1e-200  # a table of zeros has a grid too
_RESOLUTION = 1e-10  # what a cell may lose on the grid: of a ms or a point, or of the least total if more
_FINE = 1e-13  # the same where cutting cells can give a finer grid
_OVER_BUDGET = 1e-6  # how far above the budget, as a share of the least total, a cell is cut


@dataclass(frozen=True, slots=True)
class Front:
    """The non-dominated architectures: no other one is both as cheap and as good.

    `cost` (P,) ascends, `loss` (P,) strictly descends, `choices` (P, L) holds one candidate index a layer.
    `cost[0]` is the cheapest architecture there is, `cost[-1]` what the least loss costs.
    """

    cost: Floats
    loss: Floats
    choices: Indices


@dataclass(frozen=True, slots=True)
class BestArchitectures:
    """The best architectures of one budget, ordered by loss and then cost: (K,), (K,) and (K, L)."""

    cost: Floats
    loss: Floats
    choices: Indices


@dataclass(frozen=True, slots=True)
class ExactColumn:
    """One additive quantity, in whole units of 10^-decimals, so that every sum of it is exact.

    `layers` holds one array (n_l,) a layer, `fixed` what every architecture has besides its layers.
    """

    layers: tuple[Floats, ...]
    fixed: float
    decimals: int

    @classmethod
    def of(cls, column: Sequence[Floats], fixed: float = 0.0, budget: float = math.inf) -> ExactColumn:
        """Put a column on its grid.

        Where the grid would round cells away, those that no total within `budget` can hold are cut first.
        ValueError where a layer has no candidates or a value is not finite; PonasError where a cell is too
        large to be added up exactly with the others.
        """
        layers = _checked(column, fixed)
        if budget < math.inf and swamping_cell(layers, fixed, _FINE) is not None:
            layers = _cut(layers, fixed, budget)
        place = swamping_cell(layers, fixed)
        if place is not None:
            layer, candidate = place
            cell = f"layer {layer + 1}, candidate {candidate + 1} is {column[layer][candidate]:g}"
            advice = "leave such a candidate out."
            raise PonasError(f"{cell}, too large to be added up exactly with the others: {advice}")
        decimals = _decimals(layers, fixed)
        scale = 10.0**decimals
        return cls(tuple(np.rint(layer * scale) for layer in layers), round(fixed * scale), decimals)

    def least(self) -> float:
        """Units of the smallest total."""
        return self.fixed + sum(float(layer.min()) for layer in self.layers)

    def totals(self, choices: Indices) -> Floats:
        """Units of each architecture's total: (..., L) to (...,)."""
        sums = np.full(choices.shape[:-1], self.fixed, dtype=np.float64)
        for index, layer in enumerate(self.layers):
            sums += layer[choices[..., index]]
        return sums

    def limit(self, budget: float) -> float:
        """The most units that `budget` allows."""
        return float(np.floor((budget + ROUNDING * abs(budget)) * 10.0**self.decimals))

    def values(self, units: Floats) -> Floats:
        """Units back to what the table was in."""
        return units / 10.0**self.decimals


def swamping_cell(
    column: Sequence[Floats], fixed: float = 0.0, resolution: float = _RESOLUTION
) -> tuple[int, int] | None:
    """The largest cell, as (layer, candidate), where the column's grid rounds other cells away; else None."""
    with np.errstate(over="ignore"):
        sizes = [np.abs(layer) for layer in column]
        layer = max(range(len(sizes)), key=lambda index: float(sizes[index].max()))
        scale = 10.0 ** _decimals(column, fixed)
        least = abs(fixed) + sum(float(size.min()) for size in sizes)
        allowed = resolution * max(1.0, least)
        for values in (*column, np.array([fixed])):
            lost = np.abs(np.rint(values * scale) / scale - values)
            if (lost > np.maximum(allowed, ROUNDING * np.abs(values))).any():
                return layer, int(sizes[layer].argmax())
    return None


def _checked(column: Sequence[Floats], fixed: float) -> list[Floats]:
    layers = [np.asarray(layer, dtype=np.float64) for layer in column]
    if not layers or not math.isfinite(fixed):
        raise ValueError(f"a table needs layers and a finite fixed part, got {len(layers)} and {fixed}")
    for index, layer in enumerate(layers):
        if layer.ndim != 1 or layer.size == 0 or not np.isfinite(layer).all():
            raise ValueError(f"layer {index} needs one finite number a candidate, got {layer!r}")
    return layers


def _decimals(column: Sequence[Floats], fixed: float) -> int:
    """Decimals of the grid on which the largest total has 15 digits."""
    largest_total = abs(fixed) + sum(float(np.abs(layer).max()) for layer in column)
    largest_total = min(max(largest_total, _LEAST_TOTAL), sys.float_info.max)
    return _GRID_DIGITS - math.ceil(math.log10(largest_total))


def _cut(layers: Sequence[Floats], fixed: float, budget: float) -> list[Floats]:
    """The layers with every cell cut that exceeds the budget beside the least of the others.

    It stays above the budget, so the architectures that fit, and their totals, are the same.
    """
    least = [float(layer.min()) for layer in layers]
    slack = max(0.0, budget - fixed - math.fsum(least))
    magnitude = abs(fixed) + math.fsum(map(abs, least))
    room = 2 * slack + _OVER_BUDGET * magnitude or 1.0
    return [np.minimum(layer, low + room) for layer, low in zip(layers, least, strict=True)]


def same_candidates(columns: Sequence[ExactColumn]) -> None:
    """ValueError unless all columns have the same layers with the same number of candidates each."""
    shapes = [tuple(layer.size for layer in column.layers) for column in columns]
    if len(set(shapes)) > 1:
        raise ValueError(f"the tables disagree on the candidates of the layers: {shapes}")


def total(column: Sequence[Floats], choices: Indices, *, fixed: float = 0.0) -> Floats:
    """Totals of architectures `choices` (..., L), the very numbers that the searches report: (...,)."""
    exact = ExactColumn.of(column, fixed)
    return exact.values(exact.totals(np.asarray(choices, dtype=np.intp)))


def least_cost(cost: Sequence[Floats], *, fixed_cost: float = 0.0) -> float:
    """Cost of the cheapest architecture: no smaller budget can be met."""
    exact = ExactColumn.of(cost, fixed_cost, budget=-math.inf)
    return float(exact.values(np.asarray(exact.least())))


def cost_of_least_loss(cost: Sequence[Floats], loss: Sequence[Floats], *, fixed_cost: float = 0.0) -> float:
    """Cost of the cheapest architecture among those of least loss: a larger budget buys nothing."""
    return float(exact_front(cost, loss, fixed_cost=fixed_cost).cost[-1])


@dataclass(frozen=True, slots=True)
class PartialFront:
    """The front of the layers from one on: each point has a candidate there and a point of the next front.

    All four are (P,); cost and loss are in units.
    """

    cost: Floats
    loss: Floats
    candidate: Indices
    following: Indices


def suffix_fronts(costs: ExactColumn, losses: ExactColumn) -> list[PartialFront]:
    """The front of layers l to L for each l: L + 1 of them, the whole space first, no layer at all last."""
    same_candidates([costs, losses])
    nowhere = np.zeros(1, dtype=np.intp)
    fronts = [PartialFront(np.array([costs.fixed]), np.zeros(1), nowhere, nowhere)]
    for cost, loss in zip(reversed(costs.layers), reversed(losses.layers), strict=True):
        following = fronts[-1]
        own = _non_dominated(cost, loss)
        merged_cost = np.add.outer(cost[own], following.cost).ravel()
        merged_loss = np.add.outer(loss[own], following.loss).ravel()
        kept = _non_dominated(merged_cost, merged_loss)
        candidate, point = np.divmod(kept, following.cost.size)
        fronts.append(PartialFront(merged_cost[kept], merged_loss[kept], own[candidate], point))
    return fronts[::-1]


def exact_front(cost: Sequence[Floats], loss: Sequence[Floats], *, fixed_cost: float = 0.0) -> Front:
    """The complete Pareto front over all architectures (PONAS, equation 5, for every budget at once).

    `cost` and `loss` hold one array (n_l,) a layer; `fixed_cost` is added to every architecture. Of
    architectures that are equal in cost and loss up to rounding, one stays, always the same one.
    ValueError when the tables do not fit each other, PonasError as `ExactColumn.of`.
    """
    costs, losses = ExactColumn.of(cost, fixed_cost), ExactColumn.of(loss)
    fronts = suffix_fronts(costs, losses)
    front_cost, front_loss = costs.values(fronts[0].cost), losses.values(fronts[0].loss)
    keep = _distinct(front_cost, front_loss)
    return Front(front_cost[keep], front_loss[keep], _walk(fronts, keep))


def best_within(front: Front, budget: float) -> int | None:
    """Index of the architecture of least loss whose cost is at most `budget`, None when all cost more."""
    index = int(np.searchsorted(front.cost, budget + ROUNDING * abs(budget), side="right")) - 1
    return index if index >= 0 else None


def k_best(
    cost: Sequence[Floats], loss: Sequence[Floats], budget: float, k: int, *, fixed_cost: float = 0.0
) -> BestArchitectures:
    """The `k` architectures of least loss that cost at most `budget`; fewer when fewer exist.

    Exact, ties included: none outside the list comes before one inside it by (loss, cost). The front of the
    layers still to come tells how well each beginning can end, so that only `k` beginnings need be followed.
    ValueError when the tables do not fit each other or `k` is below 1, PonasError as `ExactColumn.of`.
    """
    if k < 1:
        raise ValueError(f"k is {k}, it must be at least 1")
    costs, losses = ExactColumn.of(cost, fixed_cost, budget), ExactColumn.of(loss)
    limit, ends = costs.limit(budget), suffix_fronts(costs, losses)
    cost_sums, loss_sums, choices = np.zeros(1), np.zeros(1), np.empty((1, 0), dtype=np.intp)
    for layer, end in enumerate(ends[1:]):
        cost_sums = np.add.outer(cost_sums, costs.layers[layer]).ravel()
        loss_sums = np.add.outer(loss_sums, losses.layers[layer]).ravel()
        best_end = np.searchsorted(end.cost, limit - cost_sums, side="right") - 1
        order = np.lexsort((cost_sums + end.cost[best_end], loss_sums + end.loss[best_end]))
        first = order[best_end[order] >= 0][:k]
        beginning, candidate = np.divmod(first, costs.layers[layer].size)
        choices = np.column_stack((choices[beginning], candidate))
        cost_sums, loss_sums = cost_sums[first], loss_sums[first]
    return BestArchitectures(costs.values(cost_sums + costs.fixed), losses.values(loss_sums), choices)


def _walk(fronts: list[PartialFront], points: Indices) -> Indices:
    """The choices behind `points` (P,) of the first front, following the back pointers: (P, L)."""
    choices = np.empty((points.size, len(fronts) - 1), dtype=np.intp)
    for layer, front in enumerate(fronts[:-1]):
        choices[:, layer] = front.candidate[points]
        points = front.following[points]
    return choices


def _non_dominated(cost: Floats, loss: Floats) -> Indices:
    """Indices of the non-dominated points by ascending cost; of points equal in both, the first."""
    order = np.argsort(cost, kind="stable")  # merged sums are ascending runs, which a merge sort likes
    least_loss = np.minimum.accumulate(loss[order])
    improves = np.append(True, least_loss[1:] < least_loss[:-1])
    kept: Indices = order[improves]
    best_of_equal_cost = np.append(cost[kept[1:]] > cost[kept[:-1]], True)
    return np.compress(best_of_equal_cost, kept)


def _distinct(cost: Floats, loss: Floats) -> Indices:
    """Indices of a front's points that differ by more than rounding: of a near tie the winner stays."""
    cheaper_than_next = np.append(np.diff(cost) > ROUNDING * np.abs(cost[:-1]), True)
    kept = np.flatnonzero(cheaper_than_next)
    better_than_previous = np.diff(loss[kept], prepend=np.inf) < -ROUNDING * np.abs(loss).max()
    return np.compress(better_than_previous, kept)
