"""Lower bounds of what a beginning of an architecture can end with, from the linear relaxation.

With one limit the linear relaxation of a multiple-choice knapsack is solved by the steepest increments of
the layers' lower convex hulls (Dyer 1984, Zemel 1984; Kellerer, Pferschy and Pisinger, "Knapsack Problems",
2004, section 11.2), for every budget at once. Several limits become one, weighted by the Lagrangian
multipliers (a surrogate, Glover 1968), which the ellipsoid method finds (Shor 1977; Yudin and Nemirovskii
1976): there are few limits, and it comes as near to the greatest bound as is asked. Any multipliers are
correct, better ones are faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ponas_deploy.search.columns import ROUNDING, Floats

_DUAL_STEPS, _DUAL_ERROR = 600, 1e-7


@dataclass(frozen=True, slots=True)
class Relaxation:
    """The least objective of some layers for what they may use of a limit, in the linear relaxation.

    `use` (B,) ascends from the least that the layers can use, `objective` (B,) descends: straight lines
    between.
    """

    use: Floats
    objective: Floats

    def least(self, room: Floats) -> Floats:
        """The least objective within each `room`, which must hold the least use: (...,)."""
        return np.interp(room, self.use, self.objective)

    def price(self, room: float) -> float:
        """By how much the objective falls for one more unit of room: the multiplier of the limit."""
        if self.use.size < 2 or room >= self.use[-1]:
            return 0.0
        last = max(int(np.searchsorted(self.use, room, side="right")), 1)
        fall = self.objective[last - 1] - self.objective[last]
        return float(fall / (self.use[last] - self.use[last - 1]))


def relaxations(use: Sequence[Floats], objective: Sequence[Floats]) -> list[Relaxation]:
    """The relaxation of layers l to L for each l: L + 1 of them, all layers first, none last."""
    hulls = [lower_hull(one, other) for one, other in zip(use, objective, strict=True)]
    layer = np.repeat(np.arange(len(hulls)), [len(hull[0]) - 1 for hull in hulls])
    wider, lower = (np.concatenate([np.diff(hull[axis]) for hull in hulls]) for axis in (0, 1))
    steepest = np.argsort(lower / wider, kind="stable")
    layer, wider, lower = layer[steepest], wider[steepest], lower[steepest]
    first_use, first_objective = (np.array([hull[axis][0] for hull in hulls]) for axis in (0, 1))
    found = []
    for start in range(len(hulls) + 1):
        later = layer >= start
        found.append(
            Relaxation(
                np.cumsum(np.append(first_use[start:].sum(), wider[later])),
                np.cumsum(np.append(first_objective[start:].sum(), lower[later])),
            )
        )
    return found


def lower_hull(use: Floats, objective: Floats) -> tuple[Floats, Floats]:
    """The lower convex hull of a layer's candidates up to the least objective: use and objective."""
    order = np.lexsort((objective, use))
    xs: list[float] = []
    ys: list[float] = []
    for x, y in zip(use[order].tolist(), objective[order].tolist(), strict=True):
        if ys and y >= ys[-1]:
            continue
        while len(xs) > 1 and (ys[-1] - ys[-2]) * (x - xs[-2]) >= (y - ys[-2]) * (xs[-1] - xs[-2]):
            del xs[-1], ys[-1]
        xs.append(x)
        ys.append(y)
    return np.array(xs), np.array(ys)


def multipliers(objective: Sequence[Floats], excess: Sequence[Floats], slack: Floats) -> Floats:
    """Multipliers (C,) near the greatest Lagrangian bound, of layers (n_l,) with excesses (C, n_l)."""
    if not len(slack):
        return np.empty(0)
    if len(slack) == 1:
        price = relaxations([cost[0] for cost in excess], objective)[0].price(float(slack[0]))
        return np.array([price])
    scale = max(max(float(values.max()) for values in objective), 1.0)
    unit = np.maximum(slack, 1.0)
    longest = max(values.size for values in objective)
    values, rows = np.full((len(objective), longest), np.inf), np.zeros((len(slack), len(objective), longest))
    for layer, (one, costs) in enumerate(zip(objective, excess, strict=True)):
        values[layer, : one.size] = one / scale
        rows[:, layer, : one.size] = costs / unit[:, None]
    return _by_ellipsoids(values, rows, np.minimum(slack, 1.0)) / unit * scale


def _by_ellipsoids(values: Floats, rows: Floats, limits: Floats) -> Floats:
    """Weights (C,) of the limits on `rows` (C, L, N) beside `values` (L, N), by central cuts."""
    count, layer = len(rows), np.arange(len(values))
    centre = best = np.ones(count)
    shape = np.eye(count) * (2.0 * len(values)) ** 2
    best_bound = -math.inf
    for _ in range(_DUAL_STEPS):
        outside = centre < 0
        slope = outside.astype(np.float64)
        if not outside.any():
            relaxed = values + np.tensordot(centre, rows, axes=1)
            pick = relaxed.argmin(axis=1)
            bound = float(relaxed[layer, pick].sum() - centre @ limits)
            slope = rows[:, layer, pick].sum(axis=1) - limits
            if bound > best_bound:
                best_bound, best = bound, centre
        reach = math.sqrt(max(float(slope @ shape @ slope), 0.0))
        if reach == 0 or (not outside.any() and reach < _DUAL_ERROR * (1 + abs(best_bound))):
            break
        step = shape @ slope / reach
        centre = centre + step / (count + 1)
        shape = count**2 / (count**2 - 1) * (shape - 2 / (count + 1) * np.outer(step, step))
    return best


def lagrangian_bound(
    objective: Sequence[Floats], excess: Sequence[Floats], prices: Floats, slack: Floats
) -> float:
    """The Lagrangian bound of `prices` (C,): no architecture within the limits has a lower objective."""
    least = [float((one + prices @ costs).min()) for one, costs in zip(objective, excess, strict=True)]
    return math.fsum(least) - float(prices @ slack)


def excludes_all(excess: Sequence[Floats], slack: Floats) -> bool:
    """Whether a weighting of several limits proves that no choice keeps all (Farkas' lemma).

    Of layers with excesses (C, n_l): where even the least weighted excesses come to more than the slack.
    """
    nothing = [np.zeros(costs.shape[1]) for costs in excess]
    prices = multipliers(nothing, excess, slack)
    most = math.fsum(float((prices @ costs).max()) for costs in excess) + float(prices @ slack)
    return lagrangian_bound(nothing, excess, prices, slack) > ROUNDING * most
