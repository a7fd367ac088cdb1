"""Additive columns on decimal grids: every total of them is exact.

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


def same_shapes(columns: Sequence[Sequence[Floats]]) -> None:
    """ValueError unless all columns have the same layers with the same number of candidates each."""
    shapes = [tuple(layer.size for layer in column) for column in columns]
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
    """Cost of the cheapest architecture among those of least loss: a larger budget buys nothing.

    Layer by layer, so a cell that forbids a candidate is no matter unless every best candidate is one.
    """
    losses = ExactColumn.of(loss)
    same_shapes([losses.layers, cost])
    best = [
        np.asarray(cells)[values == values.min()].min()
        for cells, values in zip(cost, losses.layers, strict=True)
    ]
    return least_cost([np.array([value]) for value in best], fixed_cost=fixed_cost)
