"""The depth rule: layers of a stage are left out from its end only. And layers joined so that it holds.

After an absent layer of a stage only absent ones follow (Once-for-all, arXiv 1908.09791, section 3.3: elastic
depth keeps the first layers). The layers of a stage that may be absent are one group with its legal
combinations; every other layer is a group of its own. Any combination of each group makes a network, and
what adds up over layers adds up over groups: whoever draws or searches networks takes groups for layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]
Tail: TypeAlias = tuple[tuple[int, int], ...]
"""The layers of a stage that may be absent: of each its index, and that of its absent candidate."""

MOST_COMBINATIONS = 4096
"""Of one group: a search compares them with each other."""


@dataclass(frozen=True, slots=True)
class DepthFault:
    """A layer, by its index, that stands behind an absent one of its stage, and what to say of it."""

    layer: int
    text: str


@dataclass(frozen=True, slots=True)
class LayerGroups:
    """Groups of layers that are chosen independently: the `layers` of each, and its `combinations`.

    Those are (N, layers of the group): a row holds one candidate index a layer.
    """

    layers: tuple[tuple[int, ...], ...]
    combinations: tuple[Indices, ...]

    @classmethod
    def of(cls, sizes: Sequence[int], tails: Sequence[Tail]) -> LayerGroups:
        """Layers of so many candidates each, with the `tails` of their stages; groups in order of layers."""
        joined = {tail[0][0]: tail for tail in tails if len(tail) > 1}
        inside = {layer for tail in joined.values() for layer, _ in tail[1:]}
        layers, combinations = [], []
        for layer, size in enumerate(sizes):
            if layer in inside:
                continue
            tail = joined.get(layer, ((layer, size),))
            layers.append(tuple(member for member, _ in tail))
            rows = _legal([(sizes[member], absent) for member, absent in tail])
            combinations.append(np.array(list(rows), dtype=np.intp))
        return cls(tuple(layers), tuple(combinations))

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many combinations each group has."""
        return tuple(map(len, self.combinations))

    def joined(self, column: Sequence[Floats]) -> list[Floats]:
        """A column of values, one array a layer, as one array a group: the sums of its combinations."""
        found = []
        for (first, *later), rows in zip(self.layers, self.combinations, strict=True):
            parts = (column[layer][rows[:, place]] for place, layer in enumerate(later, start=1))
            found.append(sum(parts, column[first][rows[:, 0]]) if later else column[first])
        return found

    def choices(self, picked: Indices) -> Indices:
        """The candidates of each layer behind one combination a group: (..., groups) to (..., layers)."""
        found = np.empty((*picked.shape[:-1], sum(map(len, self.layers))), dtype=np.intp)
        for group, (layers, rows) in enumerate(zip(self.layers, self.combinations, strict=True)):
            found[..., layers] = rows[picked[..., group]]
        return found


def _legal(tail: Sequence[tuple[int, int]]) -> Iterator[tuple[int, ...]]:
    """The legal combinations of layers with (candidates, absent one) each; a lacking one is beyond them."""
    if not tail:
        yield ()
        return
    (size, absent), *later = tail
    for candidate in range(size):
        if candidate == absent:
            if all(other < among for among, other in later):
                yield (absent, *(other for _, other in later))
        else:
            yield from ((candidate, *rest) for rest in _legal(later))


def count_combinations(sizes: Sequence[int]) -> int:
    """How many legal combinations a tail has; `sizes` of its layers, the absent candidate included."""
    return 1 + sum(prod(size - 1 for size in sizes[: depth + 1]) for depth in range(len(sizes)))
