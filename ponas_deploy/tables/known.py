"""The known space that a grid of values is of, by its layers and candidates alone."""

from __future__ import annotations

from ponas_deploy.tables.grid import Grid
from searchspace.space import Space
from searchspace.spaces import SPACES, build_space


def known_space(grid: Grid) -> Space | None:
    """The space with the same layers and candidates; None where there is none."""
    for name in SPACES:
        space = build_space(name)
        layers = tuple(layer.name for layer in space.layers)
        if grid.layers == layers and all(map(_same_labels, grid.candidates, space.labels)):
            return space
    return None


def _same_labels(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return set(one) == set(other)
