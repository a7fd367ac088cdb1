"""The exact Pareto front of a search space whose cost and loss are sums over its layers.

Accuracy loss adds over layers (PONAS, section 3.3, equation 5) and so do latency, MACs and parameters, so
choosing one candidate a layer is a multiple-choice knapsack. Merging the layers one by one and dropping
every partial sum that another one beats leaves the whole front, in milliseconds for 12^19 networks
(Nemhauser and Ullmann, 1969). Keeping the partial sums that fewer than k others beat leaves the k best
networks of every budget (the k-skyband of Papadias et al., 2005).

Sums are exact. Every table is first put on a decimal grid of 15 digits, so that a total is a whole number
of units below 2^53 and does not depend on the order of adding: 0.1 + 0.2 is 0.3, and a tie is a tie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]

ROUNDING = 1e-12
"""Relative difference below which two totals are the same number, added up differently."""

_GRID_DIGITS = 15


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
class Shortlist:
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
    def of(cls, column: Sequence[Floats], fixed: float = 0.0) -> ExactColumn:
        """Put a column on its grid; ValueError for a layer without candidates or a value that is not finite."""
        layers = [np.asarray(layer, dtype=np.float64) for layer in column]
        for index, layer in enumerate(layers):
            if layer.ndim != 1 or layer.size == 0 or not np.isfinite(layer).all():
                raise ValueError(f"layer {index} needs one finite number a candidate, got {layer!r}")
        largest_total = abs(fixed) + sum(float(np.abs(layer).max()) for layer in layers)
        decimals = _GRID_DIGITS - math.ceil(math.log10(largest_total)) if largest_total > 0 else 0
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
    exact = ExactColumn.of(cost, fixed_cost)
    return float(exact.values(np.float64(exact.least())))


def cost_of_least_loss(cost: Sequence[Floats], loss: Sequence[Floats], *, fixed_cost: float = 0.0) -> float:
    """Cost of the cheapest architecture among those of least loss: a larger budget buys nothing."""
    choices = np.array([np.lexsort(layer)[0] for layer in zip(cost, loss, strict=True)], dtype=np.intp)
    return float(total(cost, choices, fixed=fixed_cost))


def pareto_front(cost: Sequence[Floats], loss: Sequence[Floats], *, fixed_cost: float = 0.0) -> Front:
    """The complete Pareto front over all architectures (PONAS, equation 5, for every budget at once).

    `cost` and `loss` hold one array (n_l,) a layer; `fixed_cost` is added to every architecture. Of
    architectures that are equal in cost and loss up to rounding, one stays, always the same one.
    ValueError when the tables do not fit each other.
    """
    costs, losses = ExactColumn.of(cost, fixed_cost), ExactColumn.of(loss)
    cost_units, loss_units, choices = _merge_layers(costs, losses, 1, math.inf)
    front_cost, front_loss = costs.values(cost_units), losses.values(loss_units)
    keep = _distinct(front_cost, front_loss)
    return Front(front_cost[keep], front_loss[keep], choices[keep])


def best_within(front: Front, budget: float) -> int | None:
    """Index of the architecture of least loss whose cost is at most `budget`, None when all cost more."""
    index = int(np.searchsorted(front.cost, budget + ROUNDING * abs(budget), side="right")) - 1
    return index if index >= 0 else None


def k_best(
    cost: Sequence[Floats], loss: Sequence[Floats], budget: float, k: int, *, fixed_cost: float = 0.0
) -> Shortlist:
    """The `k` architectures of least loss that cost at most `budget`; fewer when fewer exist.

    Exact, ties included: no architecture outside the list comes before one inside it by (loss, cost).
    ValueError when the tables do not fit each other or `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}, it must be at least 1")
    costs, losses = ExactColumn.of(cost, fixed_cost), ExactColumn.of(loss)
    cost_units, loss_units, choices = _merge_layers(costs, losses, k, costs.limit(budget))
    first = np.lexsort((cost_units, loss_units))[:k]
    return Shortlist(costs.values(cost_units[first]), losses.values(loss_units[first]), choices[first])


def _merge_layers(
    costs: ExactColumn, losses: ExactColumn, k: int, limit: float
) -> tuple[Floats, Floats, Indices]:
    """Every architecture within `limit` units that fewer than `k` others beat: (P,), (P,), (P, L), by cost."""
    same_candidates([costs, losses])
    cost_sums, loss_sums, reserve = np.array([costs.fixed]), np.zeros(1), costs.least() - costs.fixed
    trail: list[tuple[Indices, Indices, int]] = []
    for cost, loss in zip(costs.layers, losses.layers, strict=True):
        own = _skyband(cost, loss, k)
        merged_cost = np.add.outer(cost[own], cost_sums).ravel()
        merged_loss = np.add.outer(loss[own], loss_sums).ravel()
        kept = _skyband(merged_cost, merged_loss, k)
        reserve -= float(cost.min())
        kept = kept[: np.searchsorted(merged_cost[kept], limit - reserve, side="right")]
        trail.append((own, kept, cost_sums.size))
        cost_sums, loss_sums = merged_cost[kept], merged_loss[kept]
        if not kept.size:
            break
    return cost_sums, loss_sums, _walk_back(trail, cost_sums.size, len(costs.layers))


def _walk_back(trail: list[tuple[Indices, Indices, int]], count: int, layers: int) -> Indices:
    """The choices behind the last partial sums: (count, layers).

    A merged sum lies at `candidate * parents + parent`, so one division tells both.
    """
    choices = np.empty((count, layers), dtype=np.intp)
    position = np.arange(count)
    for layer, (own, kept, parents) in reversed(list(enumerate(trail))):
        candidate, position = np.divmod(kept[position], parents)
        choices[:, layer] = own[candidate]
    return choices


def _skyband(cost: Floats, loss: Floats, k: int) -> Indices:
    """Indices, by ascending cost, of the points that fewer than `k` others beat; all else is dropped.

    A point is beaten by one as cheap and as good; of points equal in both, the earlier beats the later.
    For k = 1 exactly the front stays; for larger k a few points more may stay among those of equal cost.
    """
    order = np.argsort(cost, kind="stable")  # merged sums are ascending runs, which a merge sort likes
    cost, loss = cost[order], loss[order]
    kth_least = _running_kth_least(loss, k)
    kept = np.flatnonzero(loss < np.concatenate(([np.inf], kth_least[:-1])))
    last_of_equal_cost = np.searchsorted(cost, cost[kept], side="right") - 1
    return order[kept[loss[kept] <= kth_least[last_of_equal_cost]]]


def _running_kth_least(values: Floats, k: int) -> Floats:
    """At each position the k-th smallest value so far, infinite before the k-th: (N,) to (N,).

    What a running minimum displaces is the stream whose running minimum is the next smallest.
    """
    least = np.minimum.accumulate(values)
    for _ in range(k - 1):
        values = np.maximum(values, np.concatenate(([np.inf], least[:-1])))
        least = np.minimum.accumulate(values)
    return least


def _distinct(cost: Floats, loss: Floats) -> Indices:
    """Indices of a front's points that differ by more than rounding; of a near tie, the one that wins stays."""
    cheaper_than_next = np.append(np.diff(cost) > ROUNDING * np.abs(cost[:-1]), True)
    kept = np.flatnonzero(cheaper_than_next)
    better_than_previous = np.diff(loss[kept], prepend=np.inf) < -ROUNDING * np.abs(loss).max()
    return kept[better_than_previous]
