"""The best architectures under several additive limits at once, exactly (PONAS, equation 5, many limits).

With latency, MACs and parameters all limited the front has too many points to merge, but it still bounds.
A weighted sum of the limits is one limit that every fitting architecture meets (a surrogate, Glover 1968);
its exact front over the layers to come tells the least loss with which any beginning can end. With weights
from the Lagrangian dual that bound is so close that a narrow beam of beginnings holds the answer. The beam
remembers the best bound it ever dropped: nothing found is worse than that, or it is widened and run again.

So the answer is proven, in whole numbers. On tables of the paper's size it takes 7 to 12 ms; HiGHS through
scipy.optimize.milp came to the same losses in 7 to 209 ms, after 0.4 s of import and up to its tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.search.frontier import (
    ExactColumn,
    Floats,
    Indices,
    PartialFront,
    least_cost,
    same_candidates,
    suffix_fronts,
)
from searchspace.errors import PonasError

_FIRST_WIDTH, _WIDTH_FOR_TIES, _LAST_WIDTH = 2**8, 2**12, 2**18
_DUAL_STEPS = 200


@dataclass(frozen=True, slots=True)
class LimitedSpace:
    """A space with its limits: V candidates of L layers side by side, C costs, everything in exact units.

    `loss` (V,) and `excess` (C, V) count from the least value of each layer, and `slack` (C,) is what the
    limits leave above the least total: an architecture fits when its excesses sum to no more than the slack.
    Slack is negative where a limit cannot be met.
    """

    sizes: Indices
    offsets: Indices
    loss: Floats
    excess: Floats
    slack: Floats

    @classmethod
    def of(
        cls,
        loss: Sequence[Floats],
        costs: Sequence[Sequence[Floats]],
        limits: Sequence[float],
        fixed: Sequence[float],
    ) -> LimitedSpace:
        """Put all tables on their grids; ValueError when they do not fit each other."""
        losses = ExactColumn.of(loss)
        columns = [
            ExactColumn.of(cost, constant, limit)
            for cost, constant, limit in zip(costs, fixed, limits, strict=True)
        ]
        same_candidates([losses, *columns])
        sizes = np.array([layer.size for layer in losses.layers])
        slack = [column.limit(limit) - column.least() for column, limit in zip(columns, limits, strict=True)]
        return cls(
            sizes=sizes,
            offsets=np.cumsum(sizes) - sizes,
            loss=_above_least(losses),
            excess=np.array([_above_least(column) for column in columns]).reshape(-1, sizes.sum()),
            slack=np.array(slack, dtype=np.float64),
        )

    def fits(self, choices: Indices) -> NDArray[np.bool_]:
        """Whether architectures `choices` (..., L) meet every limit: (...,)."""
        sums = self.excess[:, choices + self.offsets].sum(axis=-1)
        slack = self.slack.reshape(-1, *[1] * (choices.ndim - 1))
        return np.asarray(np.all(sums <= slack, axis=0))

    def losses(self, choices: Indices) -> Floats:
        """Loss units of architectures `choices` (..., L): (...,)."""
        return np.asarray(self.loss[choices + self.offsets].sum(axis=-1))

    def by_layer(self, values: Floats, filler: float) -> Floats:
        """Values of the candidates (..., V) as (..., L, N), short layers filled up to the longest."""
        longest = self.sizes.max()
        table = np.full((*values.shape[:-1], self.sizes.size, longest), filler)
        table[..., np.arange(longest) < self.sizes[:, None]] = values
        return table


def smallest_possible(costs: Sequence[Sequence[Floats]], fixed: Sequence[float]) -> tuple[float, ...]:
    """The least total of each cost by itself: a limit below it is one that cannot be met."""
    return tuple(least_cost(cost, fixed_cost=constant) for cost, constant in zip(costs, fixed, strict=True))


def solve_constrained(
    loss: Sequence[Floats],
    costs: Sequence[Sequence[Floats]],
    limits: Sequence[float],
    fixed: Sequence[float],
) -> Indices | None:
    """The architecture of least loss within every limit, of equals the cheapest by the first cost: (L,).

    `loss` holds one array (n_l,) a layer and so does each of `costs`; `limits` and `fixed` give each cost's
    limit and constant. None when no architecture meets all limits. Raises as `k_best_constrained` does.
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
    """The `k` architectures of least loss within every limit, fewer when fewer exist: (K, L).

    Exact, and ordered by loss and then the first cost; only where thousands tie in losses of many digits may
    another of the tied be taken. ValueError when the tables do not fit each other or `k` is below 1;
    PonasError when the widest beam cannot prove its answer.
    """
    if k < 1:
        raise ValueError(f"k is {k}, it must be at least 1")
    space = LimitedSpace.of(loss, costs, limits, fixed)
    if (space.slack < 0).any():
        return np.empty((0, space.sizes.size), dtype=np.intp)
    return _search(space, _loss_then_first_cost(space), k)


def _above_least(column: ExactColumn) -> Floats:
    """Units of every candidate above the least one of its layer: (V,)."""
    return np.concatenate([layer - layer.min() for layer in column.layers])


def _loss_then_first_cost(space: LimitedSpace) -> Floats:
    """One whole number a candidate, (V,), whose sums order architectures by loss and then the first cost.

    The loss is counted in its own coarsest step and the first cost put below that, with all the digits that
    2^53 has left: many for losses in hundredths, which tie often, none for losses of 15 digits.
    """
    step = max(int(np.gcd.reduce(space.loss.astype(np.int64))), 1)
    steps = space.loss / step
    if not len(space.excess):
        return steps
    cost, room = space.excess[0], 2**53 // (int(_most(steps, space)) + 1)
    share = room * (1 - 1e-12) / max(_most(cost, space), 1.0)  # all first costs together stay below one step
    return np.asarray(steps * room + np.floor(cost * share))


def _most(values: Floats, space: LimitedSpace) -> float:
    """The largest total of `values` (V,)."""
    return float(np.maximum.reduceat(values, space.offsets).sum())


def _search(space: LimitedSpace, objective: Floats, k: int) -> Indices:
    """The `k` fitting architectures of least `objective` (V,), by it: wider beams until one proves it."""
    surrogate, limit = _surrogate(space, objective)
    ends = suffix_fronts(surrogate, ExactColumn(tuple(np.split(objective, space.offsets[1:])), 0.0, 0))
    columns = np.vstack((objective, np.concatenate(surrogate.layers), space.excess))
    layers = np.split(columns, space.offsets[1:], axis=1)
    limits = np.concatenate(([math.inf, limit], space.slack))
    width = _FIRST_WIDTH
    while width <= _LAST_WIDTH:
        found, sums, dropped = _beam(layers, limits, ends, width)
        first = np.lexsort(np.delete(sums, 1, axis=0)[::-1])[:k]  # by the objective, then the costs
        if len(first) == k:
            limits[0] = sums[0, first[-1]]
            if limits[0] == dropped and width >= _WIDTH_FOR_TIES:
                return found[first]
        if limits[0] < dropped or dropped == math.inf:
            return found[first]
        width *= 4
    raise PonasError(f"no proof of the best network within {_LAST_WIDTH} beginnings: loosen or drop a limit.")


def _beam(
    layers: list[Floats], limits: Floats, ends: list[PartialFront], width: int
) -> tuple[Indices, Floats, float]:
    """Architectures from the `width` beginnings of least bound: (P, L), sums (2 + C, P), least bound dropped.

    `layers` (2 + C, n_l) hold objective, surrogate and excesses, `limits` (2 + C,) the most of each. The
    bound of a beginning is its objective and that of the best end which the surrogate allows.
    """
    sums, choices, dropped = np.zeros((len(limits), 1)), np.empty((1, 0), dtype=np.intp), math.inf
    for layer, end in zip(layers, ends[1:], strict=True):
        sums = np.add(sums[:, :, None], layer[:, None, :]).reshape(len(limits), -1)
        best_end = np.searchsorted(end.cost, limits[1] - sums[1], side="right") - 1
        bound = sums[0] + end.loss[best_end]
        open_ = np.all(sums[2:] <= limits[2:, None], axis=0) & (best_end >= 0) & (bound <= limits[0])
        kept = np.flatnonzero(open_)
        if kept.size > width:
            order = np.argpartition(bound[kept], width)
            dropped = min(dropped, float(bound[kept[order[width]]]))
            kept = kept[order[:width]]
        beginning, candidate = np.divmod(kept, layer.shape[1])
        choices = np.column_stack((choices[beginning], candidate))
        sums = sums[:, kept]
    return choices, sums, dropped


def _surrogate(space: LimitedSpace, objective: Floats) -> tuple[ExactColumn, float]:
    """The weighted sum of all limits as one column, and its limit, a little loose for rounding."""
    rows = space.excess / np.maximum(space.slack, 1.0)[:, None]
    rows = np.minimum(rows, 2.0)  # over its limit by itself is over its limit, however far
    weights = _dual_weights(space, objective, rows)
    column = ExactColumn.of(np.split(weights @ rows, space.offsets[1:]))
    limit = weights @ np.minimum(space.slack, 1.0) * (1 + 1e-9) * 10.0**column.decimals + space.sizes.size
    return column, float(limit)


def _dual_weights(space: LimitedSpace, objective: Floats, rows: Floats) -> Floats:
    """Weights (C,) of the limits that come near the greatest Lagrangian bound, by subgradient steps.

    `rows` (C, V) are the excesses with each limit at 1. Any weights are correct, better ones are faster; all
    are 1 where no limit counts.
    """
    usable = np.all(space.excess <= space.slack[:, None], axis=0)
    scale = max(float(objective.max()), 1.0)
    values = space.by_layer(np.where(usable, objective / scale, np.inf), np.inf)
    rows = space.by_layer(np.where(usable, rows, 0.0), 0.0)
    weights = best_weights = np.zeros(len(rows))
    best_bound, layer = -math.inf, np.arange(space.sizes.size)
    for step in range(_DUAL_STEPS):
        relaxed = values + np.tensordot(weights, rows, axes=1)
        pick = relaxed.argmin(axis=1)
        bound = relaxed[layer, pick].sum() - weights.sum()
        if bound > best_bound:
            best_bound, best_weights = bound, weights
        slope = rows[:, layer, pick].sum(axis=1) - 1
        stride = 1 / (1 + 0.3 * step) / max(float(np.linalg.norm(slope)), 1e-12)
        weights = np.maximum(0.0, weights + stride * slope)
    return best_weights if best_weights.any() else np.ones(len(rows))
