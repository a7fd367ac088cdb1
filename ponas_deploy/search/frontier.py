"""The Pareto front of a search space whose cost and loss are sums over its layers.

Accuracy loss adds over layers (PONAS, section 3.3, equation 5) and so do latency, MACs and parameters, so
choosing one candidate a layer is a multiple-choice knapsack. Merging the layers one by one and dropping
every partial sum that another one beats leaves the whole front, in milliseconds for 12^19 networks
(Nemhauser and Ullmann, 1969). Sums are exact (`columns`).

The front is complete while no merge has more than 2^21 points (`MOST_MERGED`). Beyond, partial fronts are
thinned, and the front says how far a network of the true one may be from it: that gap is proven, from what
was thinned or from the linear relaxation, whichever is less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.search.bounds import Relaxation, relaxations
from ponas_deploy.search.columns import ROUNDING, ExactColumn, Floats, Indices, same_shapes

Pointers: TypeAlias = NDArray[np.int32]

MOST_MERGED = 2**21
"""Points of a merge up to which the front is complete."""
COST_GAP, LOSS_GAP = 1e-4, 1e-3
"""What a thinned front may be off: a share of the cost, and of the loss an amount (percentage points)."""

_FEWEST = 4  # points that a thinned front keeps at least
_MOST_THINNED = 2**18  # points of a merge once it is thinned


@dataclass(frozen=True, slots=True)
class Front:
    """The non-dominated architectures: no other one is both as cheap and as good.

    `cost` (P,) ascends, `loss` (P,) strictly descends, `choices` (P, L) holds one candidate index a layer.
    `cost[0]` is the cheapest architecture there is, `cost[-1]` what the least loss costs.

    Complete where both gaps are 0. Else every architecture of the complete front has one here that
    costs at most the share `cost_gap` more and loses at most `loss_gap` more.
    """

    cost: Floats
    loss: Floats
    choices: Indices
    cost_gap: float = 0.0
    loss_gap: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether nothing was thinned."""
        return not self.cost_gap and not self.loss_gap


@dataclass(frozen=True, slots=True)
class _Partial:
    """The front of the layers so far: sums in units, and candidates by back pointers."""

    cost: Floats
    loss: Floats
    trail: tuple[tuple[Pointers, Pointers], ...] = ()

    def merged(self, cost: Floats, loss: Floats) -> _Partial:
        """With one layer more, whose candidates cost and lose this."""
        own = _non_dominated(cost, loss)
        costs = np.add.outer(cost[own], self.cost).ravel()
        losses = np.add.outer(loss[own], self.loss).ravel()
        kept = _non_dominated(costs, losses)
        candidate, point = np.divmod(kept, self.cost.size)
        step = (own[candidate].astype(np.int32), point.astype(np.int32))
        return _Partial(costs[kept], losses[kept], (*self.trail, step))

    def at(self, points: Indices) -> _Partial:
        """Only these points."""
        candidate, point = self.trail[-1]
        return _Partial(
            self.cost[points], self.loss[points], (*self.trail[:-1], (candidate[points], point[points]))
        )

    def choices(self, points: Indices) -> Indices:
        """The candidates behind points (P,), the last merged layer first: (P, L)."""
        found = np.empty((points.size, len(self.trail)), dtype=np.intp)
        for layer, (candidate, point) in enumerate(reversed(self.trail)):
            found[:, layer] = candidate[points]
            points = point[points].astype(np.intp)
        return found


def exact_front(cost: Sequence[Floats], loss: Sequence[Floats], *, fixed_cost: float = 0.0) -> Front:
    """The Pareto front over all architectures (PONAS, equation 5, for every budget at once).

    `cost` and `loss` hold one array (n_l,) a layer; `fixed_cost` is added to every architecture. Of
    architectures that are equal in cost and loss up to rounding, one stays, always the same one.
    Complete, or with its gap: see `Front`. ValueError when the tables do not fit each other, PonasError as
    `ExactColumn.of`.
    """
    costs, losses = ExactColumn.of(cost, fixed_cost), ExactColumn.of(loss)
    same_shapes([costs.layers, losses.layers])
    partial, most, thinned = _Partial(np.array([costs.fixed]), np.zeros(1)), MOST_MERGED, 0.0
    shares, relaxed = _thinning_shares(costs, losses), list[Relaxation]()
    for layer in range(len(costs.layers) - 1, -1, -1):
        layer_cost, layer_loss = costs.layers[layer], losses.layers[layer]
        if partial.cost.size * layer_cost.size > most:
            most = min(most, _MOST_THINNED)
            relaxed = relaxed or relaxations(costs.layers, losses.layers)
            points = max(most // layer_cost.size // 2, _FEWEST)
            kept, lost = _thin(partial.cost, partial.loss, *shares, points)
            near = _nearest(partial, relaxed[layer + 1], costs.fixed, costs.least(), points)
            partial, thinned = partial.at(np.union1d(kept, near)), thinned + lost
        partial = partial.merged(layer_cost, layer_loss)
    front_cost, front_loss = costs.values(partial.cost), losses.values(partial.loss)
    keep = _distinct(front_cost, front_loss)
    choices = partial.choices(keep)
    if not thinned:
        return Front(front_cost[keep], front_loss[keep], choices)
    gap = min(thinned, _relaxed_gap(partial, relaxed[0], costs.fixed))
    return Front(front_cost[keep], front_loss[keep], choices, COST_GAP, float(losses.values(np.array(gap))))


def _thinning_shares(costs: ExactColumn, losses: ExactColumn) -> tuple[float, float]:
    """What one of L thinnings may add to a cost and to a loss, in units."""
    count = len(costs.layers)
    return max(0.0, COST_GAP * costs.least() / count), LOSS_GAP * 10.0**losses.decimals / count


def _thin(cost: Floats, loss: Floats, dearer: float, worse: float, most: int) -> tuple[Indices, float]:
    """At most `most` points of a partial front that stand for all of it, and how much more they may lose.

    Up to some point of the front, where it is steep, the best of all that cost nearly the same stays
    (within `dearer`); from there on the cheapest of all that lose nearly the same (within `worse`, or as
    many times that as it takes).
    """
    ends = np.zeros(cost.size, dtype=np.bool_)
    ends[[0, -1]] = True
    by_cost = ends.copy()
    if dearer > 0:
        by_cost[:-1] |= np.diff(np.floor(cost / dearer)) > 0
    else:
        by_cost[:] = True
    while True:
        by_loss = ends.copy()
        by_loss[1:] |= np.diff(np.floor(loss / worse)) < 0
        counts = np.cumsum(by_cost) - by_cost + np.cumsum(by_loss[::-1])[::-1]
        split = int(counts.argmin())
        if counts[split] + 1 <= most:
            break
        worse *= 2
    first = np.arange(cost.size) < split
    keep = np.where(first, by_cost, by_loss)
    keep[max(split - 1, 0) : split + 1] = True
    return np.flatnonzero(keep), worse


def _nearest(partial: _Partial, relaxed: Relaxation, fixed: float, least: float, most: int) -> Indices:
    """At most `most` points, of each stretch of costs the one nearest to the linear relaxation.

    Stretches are equal shares of a total whose other layers cost the least, which makes `least` in all.
    """
    share = np.log1p((partial.cost - partial.cost[0]) / max(least, 1.0))
    stretch = np.floor(share * ((most - 1) / share[-1]))
    height = partial.loss - relaxed.least(partial.cost - fixed)
    order = np.lexsort((height, stretch))
    nearest: Indices = order[np.append(True, np.diff(stretch[order]) > 0)]
    return nearest


def _relaxed_gap(found: _Partial, relaxed: Relaxation, fixed: float) -> float:
    """How much more than the true front the found one may lose at the most, in units.

    The true front is nowhere below the linear relaxation; at a cost just too small for a point of the found
    one, even with the share that a cost may be off, the point before it stands.
    """
    reach = np.append(found.cost[1:], np.inf) - fixed
    allowed = np.minimum(reach, np.append(found.cost[1:] / (1 + COST_GAP), np.inf) - fixed)
    lower = relaxed.least(np.maximum(allowed, relaxed.use[0]))
    return float(np.max(found.loss - lower)) * (1 + ROUNDING)


def best_within(front: Front, budget: float) -> int | None:
    """Index of the architecture of least loss whose cost is at most `budget`, None when all cost more."""
    index = int(np.searchsorted(front.cost, budget + ROUNDING * abs(budget), side="right")) - 1
    return index if index >= 0 else None


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
    left = loss[kept]
    size = np.maximum(np.abs(left), np.abs(np.append(left[:1], left[:-1])))
    better_than_previous = np.diff(left, prepend=np.inf) < -ROUNDING * size
    return np.compress(better_than_previous, kept)
