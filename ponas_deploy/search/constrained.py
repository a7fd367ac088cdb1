"""The best architectures within additive limits, one or many (PONAS, equation 5), by bounds and with proof.

Choosing one candidate a layer is a multiple-choice knapsack; its front can have more points than fit in any
memory, and one budget needs none of it. Each pass follows the beginnings whose bound is not above the k-th
best architecture in hand (`beginnings`, `bounds`), at most `width` of them. What a pass finds removes the
candidates that no better architecture can have (Pisinger 1995, "A minimal algorithm for the multiple-choice
knapsack problem", reduces so), and the next pass is wider. The layers that differ most come first: the last
ones then fill what is left of the limits in small steps.

The answer is proven when nothing was dropped that could be better. Bounds are floating point: the proof is
up to 16 L 2^-52 of the greatest total, 6e-13 of it for 160 layers. The work is bounded; where it ends
before the proof, the best architecture in hand comes with the bound (`least_outside`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.search.beginnings import Layers, Pass, follow
from ponas_deploy.search.bounds import excludes_all, lagrangian_bound, multipliers, relaxations
from ponas_deploy.search.columns import ROUNDING, ExactColumn, Floats, Indices
from ponas_deploy.search.limited import LimitedSpace, Objective
from searchspace.errors import PonasError

NEAR_GAP = 1e-4
"""A gap, as a share of the loss, that is small enough to stop after little work."""

_WORK, _WORK_NEAR, _WORK_FOR_TIES = 2**25, 2**22, 2**20
"""Beginnings at the most: in all, with a small gap, and where only equals are left to be ordered."""
_FIRST_WIDTH, _WIDER = 16, 8
_MOST_CHILDREN, _MOST_TRAIL = 2**20, 2**23  # at a time, and all layers together: 100 MB
_EPSILON = 2.0**-52


@dataclass(frozen=True, slots=True)
class Found:
    """The best architectures: `choices` (K, L) by loss and then the first cost, their `loss` (K,) and cost.

    No architecture outside the list loses less than `least_outside`; infinity where there is none.
    """

    choices: Indices
    loss: Floats
    least_outside: float

    def gap(self, index: int) -> float:
        """How much less than the one at `index` another that is not before it could lose; 0 is proven."""
        loss = float(self.loss[index])
        gap = max(0.0, loss - self.least_outside)
        return gap if gap > 2 * ROUNDING * max(1.0, abs(loss)) else 0.0


@dataclass(frozen=True, slots=True)
class BestArchitectures:
    """The best architectures of one budget, ordered by loss and then cost: (K,), (K,) and (K, L)."""

    cost: Floats
    loss: Floats
    choices: Indices


def k_best(
    cost: Sequence[Floats], loss: Sequence[Floats], budget: float, k: int, *, fixed_cost: float = 0.0
) -> BestArchitectures:
    """The `k` architectures of least loss that cost at most `budget`; fewer when fewer exist.

    Raises as `find_best` does.
    """
    found = find_best(loss, [cost], [budget], [fixed_cost], k)
    costs = ExactColumn.of(cost, fixed_cost, budget)
    return BestArchitectures(costs.values(costs.totals(found.choices)), found.loss, found.choices)


def solve_constrained(
    loss: Sequence[Floats],
    costs: Sequence[Sequence[Floats]],
    limits: Sequence[float],
    fixed: Sequence[float],
) -> Indices | None:
    """The architecture of least loss within every limit, of equals the cheapest by the first cost: (L,).

    None when no architecture meets all limits. Takes and raises what `find_best` does.
    """
    found = k_best_constrained(loss, costs, limits, fixed, 1)
    return found[0] if len(found) else None


def k_best_constrained(
    loss: Sequence[Floats],
    costs: Sequence[Sequence[Floats]],
    limits: Sequence[float],
    fixed: Sequence[float],
    k: int,
) -> Indices:
    """The `k` architectures of least loss within every limit, fewer when fewer exist: (K, L)."""
    return find_best(loss, costs, limits, fixed, k).choices


def find_best(
    loss: Sequence[Floats],
    costs: Sequence[Sequence[Floats]],
    limits: Sequence[float],
    fixed: Sequence[float],
    k: int,
) -> Found:
    """The `k` architectures of least loss within every limit, and what is proven of them.

    `loss` holds one array (n_l,) a layer and so does each of `costs`; `limits` and `fixed` give each cost's
    limit and constant. Ordered by loss and then the first cost; only where very many tie may another of the
    tied be taken. Fewer than `k` when fewer exist.

    ValueError when the tables do not fit each other or `k` is below 1, PonasError as `ExactColumn.of`, and
    where neither an architecture within the limits nor the proof that there is none was found.
    """
    if k < 1:
        raise ValueError(f"k is {k}, it must be at least 1")
    space, losses = LimitedSpace.of(loss, costs, limits, fixed), ExactColumn.of(loss)
    choices, outside = np.empty((0, space.sizes.size), dtype=np.intp), math.inf
    if not (space.slack < 0).any():
        choices, outside = _search(space, k, losses.least())
    return Found(choices, losses.values(losses.totals(choices)), float(losses.values(np.array(outside))))


@dataclass(frozen=True, slots=True)
class _Candidates:
    """What is left of each layer: indices, and columns (1 + C, n_l) of objective and excesses."""

    indices: Sequence[Indices]
    columns: Sequence[Floats]

    def keep(self, masks: Sequence[NDArray[np.bool_]]) -> _Candidates:
        """Those under the `masks`."""
        return _Candidates(
            [indices[mask] for indices, mask in zip(self.indices, masks, strict=True)],
            [column[:, mask] for column, mask in zip(self.columns, masks, strict=True)],
        )

    def usable(self, slack: Floats, k: int) -> _Candidates:
        """Those that fit by themselves, and that fewer than `k` others of their layer are no worse than."""
        return self.keep([_usable(column, slack, k) for column in self.columns])

    def within(self, most: float, prices: Floats, slack: Floats) -> _Candidates:
        """Those with which the Lagrangian bound is at most `most`."""
        if most == math.inf:
            return self
        reduced = [column[0] + prices @ column[1:] for column in self.columns]
        left = most + float(prices @ slack) - math.fsum(float(values.min()) for values in reduced)
        return self.keep([values - values.min() <= left for values in reduced])


def _usable(column: Floats, slack: Floats, k: int) -> NDArray[np.bool_]:
    no_worse = (column[:, :, None] <= column[:, None, :]).all(axis=0)
    equal = no_worse & no_worse.T
    before = (no_worse & ~equal) | np.triu(equal, 1)
    return np.asarray((before.sum(axis=0) < k) & (column[1:] <= slack[:, None]).all(axis=0))


@dataclass(frozen=True, slots=True)
class _Hand:
    """The best architectures so far: `choices` (K, L), the objective of the k-th (infinity without one)."""

    choices: Indices
    most: float

    def joined(self, space: LimitedSpace, objective: Objective, found: Indices, k: int) -> _Hand:
        """With those of a pass."""
        choices = np.unique(np.concatenate((self.choices, found)), axis=0)
        sums = objective.values[choices + space.offsets].sum(axis=1)
        costs = space.excess[:, choices + space.offsets].sum(axis=2)
        first = np.lexsort((*costs[::-1], sums))[:k]
        return _Hand(choices[first], float(sums[first[-1]]) if len(first) == k else math.inf)


def _search(space: LimitedSpace, k: int, base: float) -> tuple[Indices, float]:
    """The `k` best, and the least loss (units) of any other; `base` is the least of all."""
    objective = Objective.of(space)
    slack = np.array([min(one, space.most(row)) for one, row in zip(space.slack, space.excess, strict=True)])
    columns = np.split(np.vstack((objective.values, space.excess)), space.offsets[1:], axis=1)
    left = _Candidates([np.arange(size) for size in space.sizes], columns).usable(slack, k)
    if not all(indices.size for indices in left.indices):
        return np.empty((0, space.sizes.size), dtype=np.intp), math.inf
    prices = multipliers([column[0] for column in left.columns], [c[1:] for c in left.columns], slack)
    tolerance = 16 * space.sizes.size * _EPSILON * space.most(objective.values)
    bound = _LossBound(objective, tolerance, base, _least_loss(space, objective, prices, slack))
    hand = _Hand(np.empty((0, space.sizes.size), dtype=np.intp), math.inf)
    work, width, dropped = 0, max(_FIRST_WIDTH, 2 * k), -math.inf
    while width:
        left = left.within(hand.most + tolerance, prices, slack)
        found = _pass(left, prices, slack, hand.most + tolerance, k, width)
        hand = hand.joined(space, objective, found.choices, k)
        work, dropped = work + found.work, max(dropped, found.dropped)
        if dropped > hand.most or dropped == math.inf:
            break
        if not (len(hand.choices) or len(slack) == 1) and excludes_all([c[1:] for c in left.columns], slack):
            return hand.choices, math.inf
        width = _wider(left, width, bound.allowance(hand.most, dropped) - work)
    if not len(hand.choices) and dropped < math.inf:
        raise PonasError(
            f"no architecture within the limits was found among {work} beginnings, and no proof"
            " that there is none: loosen or drop a limit."
        )
    return hand.choices, bound.outside(hand.most, dropped)


def _pass(left: _Candidates, prices: Floats, slack: Floats, most: float, k: int, width: int) -> Pass:
    """One pass over what is left, the layers that differ most in what they use of the limits first."""
    exact = len(slack) <= 1
    weights = np.ones(len(slack)) if exact or not prices.any() else prices
    use = [weights @ column[1:] for column in left.columns]
    order = np.argsort([-np.ptp(values) for values in use], kind="stable")
    each = slice(1, 1) if exact else slice(1, None)  # one limit is its own surrogate
    columns = [np.vstack((left.columns[i][0], use[i], left.columns[i][each])) for i in order]
    room = float(weights @ slack) * (1.0 if exact else 1 + ROUNDING)
    ends = relaxations([column[1] for column in columns], [column[0] for column in columns])
    found = follow(Layers(columns, ends, room, slack[:0] if exact else slack, exact), most, k, width)
    choices = np.empty_like(found.choices)
    for position, layer in enumerate(order):
        choices[:, layer] = left.indices[layer][found.choices[:, position]]
    return Pass(choices, found.dropped, found.work)


def _wider(left: _Candidates, width: int, work: int) -> int:
    """The width of the next pass, for the `work` and memory left; 0 where it would not be wider."""
    sizes = [indices.size for indices in left.indices]
    most = min(work // sum(sizes), _MOST_CHILDREN // max(sizes), _MOST_TRAIL // len(sizes))
    wider = min(width * _WIDER, most)
    return wider if wider > width * 3 // 2 else 0


@dataclass(frozen=True, slots=True)
class _LossBound:
    """From bounds of the objective to bounds of the loss, in units: `base` more than the objective counts.

    `least` is what every architecture within the limits loses, in steps, from the relaxation of the loss
    alone.
    """

    objective: Objective
    tolerance: float
    base: float
    least: float

    def outside(self, most: float, dropped: float) -> float:
        """The least loss of an architecture that is not in the list, whose k-th has the objective `most`."""
        lower = dropped - self.tolerance
        if self.tolerance < 0.5 and dropped < math.inf:
            lower = math.ceil(lower)
        if self.objective.room == 1 and lower >= most - 2 * self.tolerance:
            lower = most  # the same up to rounding
        loss = max(self.objective.loss(min(lower, most)), self.least * self.objective.step)
        return min(loss, self.objective.loss(most)) + self.base

    def allowance(self, most: float, dropped: float) -> int:
        """How many beginnings may be followed in all, for how near the proof is."""
        loss = self.objective.loss(most) + self.base
        gap = loss - self.outside(most, dropped) if most < math.inf else math.inf
        if gap <= 0:
            return _WORK_FOR_TIES
        return _WORK_NEAR if gap <= NEAR_GAP * abs(loss) else _WORK


def _least_loss(space: LimitedSpace, objective: Objective, prices: Floats, slack: Floats) -> float:
    """The Lagrangian bound of the loss alone, in whole steps."""
    steps = np.split(space.loss / objective.step, space.offsets[1:])
    excess = np.split(space.excess, space.offsets[1:], axis=1)
    fitting = [np.all(costs <= slack[:, None], axis=0) for costs in excess]
    own = [one[mask] for one, mask in zip(steps, fitting, strict=True)]
    used = [costs[:, mask] for costs, mask in zip(excess, fitting, strict=True)]
    cheap = len(slack) <= 1 and objective.room > 1
    weights = multipliers(own, used, slack) if cheap else prices / objective.room
    bound = lagrangian_bound(own, used, weights, slack)
    return math.ceil(bound - 16 * space.sizes.size * _EPSILON * space.most(space.loss / objective.step))
