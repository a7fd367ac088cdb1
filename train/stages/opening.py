"""What of a space may be chosen while its supernet shrinks, and subnets drawn at random of that.

Progressive shrinking (Once-for-all, arXiv 1908.09791, section 3.3) opens kernel sizes, then depths, then
widths, each from the largest down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from searchspace import Architecture, Candidate, Layer, Space
from searchspace.ops import convolutions

Choose = Callable[[int], int]
"""A random whole number from 0 to below the one given, such as `random.Random(0).randrange`."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How many kernel sizes, depths and widths of a layer or stage may be chosen, from the largest on."""

    kernels: int = 1
    depths: int = 1
    widths: int = 1

    @classmethod
    def whole(cls, space: Space) -> Opening:
        """All there is in a space."""
        return cls(
            max(len(_sizes(layer, _kernel)) for layer in space.layers),
            max(len(optional) for _, optional in _stages(space)) + 1,
            max(len(_sizes(layer, _width)) for layer in space.layers),
        )


def open_candidates(layer: Layer, opening: Opening) -> tuple[Candidate, ...]:
    """The candidates of a layer that may be chosen where it is not absent."""
    kernels = _sizes(layer, _kernel)[: opening.kernels]
    widths = _sizes(layer, _width)[: opening.widths]
    return tuple(
        one for one in layer.candidates if one.ops and _kernel(one) in kernels and _width(one) in widths
    )


def draw(space: Space, opening: Opening, choose: Choose) -> Architecture:
    """A random subnet: every open depth of a stage is as likely as another, so is every open candidate."""
    labels: list[str] = []
    for members, optional in _stages(space):
        left_out = choose(min(opening.depths, len(optional) + 1))
        kept = len(members) - left_out
        for layer in members[:kept]:
            found = open_candidates(layer, opening)
            labels.append(found[choose(len(found))].label)
        labels += (_absent(layer) for layer in members[kept:])
    return Architecture(space, tuple(labels))


def smallest(space: Space, opening: Opening) -> Architecture:
    """The open subnet of the smallest kernels and widths and the fewest layers."""
    labels: list[str] = []
    for members, optional in _stages(space):
        kept = len(members) - min(opening.depths - 1, len(optional))
        for layer in members[:kept]:
            least = min(open_candidates(layer, opening), key=lambda one: (_width(one), _kernel(one)))
            labels.append(least.label)
        labels += (_absent(layer) for layer in members[kept:])
    return Architecture(space, tuple(labels))


def _stages(space: Space) -> Iterator[tuple[tuple[Layer, ...], tuple[Layer, ...]]]:
    """The layers of each stage, and those of them that may be absent; without stages each layer is one."""
    start = 0
    for size in space.stages or (1,) * len(space.layers):
        members = space.layers[start : start + size]
        yield members, tuple(layer for layer in members if layer.absent is not None)
        start += size


def _absent(layer: Layer) -> str:
    assert layer.absent is not None
    return layer.candidates[layer.absent].label


def _sizes(layer: Layer, size: Callable[[Candidate], int]) -> list[int]:
    """From the largest."""
    return sorted({size(one) for one in layer.candidates if one.ops}, reverse=True)


def _kernel(candidate: Candidate) -> int:
    return max((conv.kernel for conv in convolutions(candidate.ops)), default=0)


def _width(candidate: Candidate) -> int:
    """The channels that its last convolution takes."""
    return next((conv.in_channels for conv in reversed(tuple(convolutions(candidate.ops)))), 0)
