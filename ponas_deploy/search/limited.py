"""A search space with limits, in exact units: what the bounded search and the genetic algorithm work on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.search.columns import ExactColumn, Floats, Indices, least_cost, same_shapes


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
        same_shapes([column.layers for column in (losses, *columns)])
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

    def most(self, values: Floats) -> float:
        """The largest total of `values` (V,)."""
        return float(np.maximum.reduceat(values, self.offsets).sum())

    def by_layer(self, values: Floats, filler: float) -> Floats:
        """Values of the candidates (..., V) as (..., L, N), short layers filled up to the longest."""
        longest = self.sizes.max()
        table = np.full((*values.shape[:-1], self.sizes.size, longest), filler)
        table[..., np.arange(longest) < self.sizes[:, None]] = values
        return table


def smallest_possible(costs: Sequence[Sequence[Floats]], fixed: Sequence[float]) -> tuple[float, ...]:
    """The least total of each cost by itself: a limit below it is one that cannot be met."""
    return tuple(least_cost(cost, fixed_cost=constant) for cost, constant in zip(costs, fixed, strict=True))


@dataclass(frozen=True, slots=True)
class Objective:
    """One whole number a candidate, `values` (V,), whose sums order architectures by loss, then by cost.

    A sum holds the loss in steps of `step` units, times `room`, and the first cost below that.
    """

    values: Floats
    step: int
    room: int

    @classmethod
    def of(cls, space: LimitedSpace) -> Objective:
        """Loss, then the first cost with all the digits that 2^53 has left.

        Many for losses in hundredths, which tie often, none for losses of 15 digits.
        """
        step = max(int(np.gcd.reduce(space.loss.astype(np.int64))), 1)
        steps = space.loss / step
        if not len(space.excess):
            return cls(steps, step, 1)
        cost = np.where(space.excess[0] <= space.slack[0], space.excess[0], 0.0)
        cost = cost / max(int(np.gcd.reduce(cost.astype(np.int64))), 1)
        most = int(space.most(cost))
        room = min(2**53 // (int(space.most(steps)) + 1), most + 1)
        if room <= most:  # all first costs together stay below one step
            cost = np.floor(cost * (room * (1 - 1e-12) / most))
        return cls(np.asarray(steps * room + cost), step, room)

    def loss(self, value: float) -> float:
        """The loss in units above the least, of a sum or of a lower bound of sums."""
        return value if math.isinf(value) else math.floor(value / self.room) * self.step


def _above_least(column: ExactColumn) -> Floats:
    """Units of every candidate above the least one of its layer: (V,)."""
    return np.concatenate([layer - layer.min() for layer in column.layers])
