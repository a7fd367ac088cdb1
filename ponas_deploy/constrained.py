"""The best architecture under several additive limits at once, exactly (PONAS, equation 5, many constraints).

Latency and parameters and MACs together leave no small front to merge, so this is an integer programme with
one binary variable a candidate, solved by HiGHS through SciPy. The solver works to a tolerance and we do
not: what it returns is added up again exactly, and a solution that oversteps a limit is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.frontier import ExactColumn, Floats, Indices, least_cost, same_candidates

_ROW_SCALE = 1e3  # HiGHS' feasibility tolerance of 1e-6 becomes 1e-9 of what a limit leaves to choose
_CUTS_BEFORE_TIGHTENING = 50


@dataclass(frozen=True, slots=True)
class LimitedSpace:
    """A space with its limits: V candidates of all layers side by side, C costs, everything in exact units.

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
        columns = [ExactColumn.of(cost, constant) for cost, constant in zip(costs, fixed, strict=True)]
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
        return np.all(sums.T <= self.slack, axis=-1).T

    def losses(self, choices: Indices) -> Floats:
        """Loss units of architectures `choices` (..., L): (...,)."""
        return np.asarray(self.loss[choices + self.offsets].sum(axis=-1))


def smallest_possible(costs: Sequence[Sequence[Floats]], fixed: Sequence[float]) -> tuple[float, ...]:
    """The least total of each cost by itself: a limit below it is the one that cannot be met."""
    return tuple(least_cost(cost, fixed_cost=constant) for cost, constant in zip(costs, fixed, strict=True))


def solve_constrained(
    loss: Sequence[Floats],
    costs: Sequence[Sequence[Floats]],
    limits: Sequence[float],
    fixed: Sequence[float],
) -> Indices | None:
    """The architecture of least loss within every limit, the cheapest by the first cost among equals: (L,).

    `loss` holds one array (n_l,) a layer and so does each of `costs`; `limits` and `fixed` give each cost's
    limit and constant. None when no architecture meets all limits; ValueError when the tables do not fit
    each other.
    """
    return _least_loss(LimitedSpace.of(loss, costs, limits, fixed), [])


def k_best_constrained(
    loss: Sequence[Floats],
    costs: Sequence[Sequence[Floats]],
    limits: Sequence[float],
    fixed: Sequence[float],
    k: int,
) -> Indices:
    """The `k` architectures of least loss within every limit, fewer when fewer exist: (K, L), the best first.

    Each found architecture is cut off and the programme solved again; ties go by the first cost.
    """
    if k < 1:
        raise ValueError(f"k is {k}, it must be at least 1")
    space = LimitedSpace.of(loss, costs, limits, fixed)
    found: list[Indices] = []
    while len(found) < k and (choices := _least_loss(space, found)) is not None:
        found.append(choices)
    return np.array(found, dtype=np.intp).reshape(-1, space.sizes.size)


def _above_least(column: ExactColumn) -> Floats:
    """Units of every candidate above the least one of its layer: (V,)."""
    return np.concatenate([layer - layer.min() for layer in column.layers])


def _least_loss(space: LimitedSpace, excluded: Sequence[Indices]) -> Indices | None:
    """The least loss among what fits, then the least first cost among what loses no more."""
    best = _minimise(space.loss, space, excluded)
    if best is None or not space.slack.size:
        return best
    as_good = LimitedSpace(
        space.sizes,
        space.offsets,
        space.loss,
        excess=np.vstack((space.excess, space.loss)),
        slack=np.append(space.slack, space.losses(best)),
    )
    return _minimise(space.excess[0], as_good, excluded)


def _minimise(objective: Floats, space: LimitedSpace, excluded: Sequence[Indices]) -> Indices | None:
    """The architecture of least `objective` (V,) that fits exactly and is none of `excluded`; None: no such.

    A solution within the solver's tolerance but over a limit is excluded and the programme solved again,
    which is exact. Only where such solutions do not end, the limits are tightened by twice the tolerance.
    """
    cuts = list(excluded)
    while True:
        tightened = len(cuts) - len(excluded) > _CUTS_BEFORE_TIGHTENING
        choices = _solve(objective, space, cuts, bound=_ROW_SCALE - 2e-6 * tightened)
        if choices is None or space.fits(choices):
            return choices
        cuts.append(choices)


def _solve(objective: Floats, space: LimitedSpace, cuts: Sequence[Indices], bound: float) -> Indices | None:
    """One run of HiGHS: each layer takes one candidate, no row exceeds `bound`, no cut comes back: (L,)."""
    from scipy.optimize import Bounds, LinearConstraint, milp  # 0.4 s that only this search needs

    allowed = np.all(space.excess <= space.slack[:, None], axis=0)
    layer_of = np.repeat(np.arange(space.sizes.size), space.sizes)
    if np.unique(layer_of[allowed]).size < space.sizes.size:
        return None
    one_each = (layer_of == np.arange(space.sizes.size)[:, None]).astype(np.float64)
    rows = np.where(allowed, space.excess, 0.0) / np.maximum(space.slack, 1.0)[:, None] * _ROW_SCALE
    constraints = [LinearConstraint(one_each, 1, 1), LinearConstraint(rows, -np.inf, bound)]
    if cuts:
        taken = np.zeros((len(cuts), allowed.size))
        np.put_along_axis(taken, np.array(cuts) + space.offsets, 1.0, axis=1)
        constraints.append(LinearConstraint(taken, -np.inf, space.sizes.size - 1))
    result = milp(
        objective / max(objective.max(), 1.0) * _ROW_SCALE,
        integrality=np.ones(allowed.size),
        bounds=Bounds(0, allowed.astype(np.float64)),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    if result.x is None:
        if result.status == 2:  # infeasible
            return None
        raise RuntimeError(f"HiGHS stopped without a solution: {result.message}")
    return np.array([np.argmax(part) for part in np.split(result.x, space.offsets[1:])], dtype=np.intp)
