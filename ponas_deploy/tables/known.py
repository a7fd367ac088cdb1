"""The known space that a grid of values is of, by its layers and candidates alone."""

from __future__ import annotations

from collections.abc import Iterator

from ponas_deploy.tables.grid import Grid
from searchspace.space import Space
from searchspace.spaces import SPACES, build_space


def known_space(grid: Grid) -> Space | None:
    """The space with the same layers and candidates, the first of several; None where there is none."""
    return next(known_spaces(grid), None)


def known_spaces(grid: Grid) -> Iterator[Space]:
    """The spaces with the same layers and candidates: those of one kind at several widths have the same."""
    for name in SPACES:
        space = build_space(name)
        layers = tuple(layer.name for layer in space.layers)
        if grid.layers == layers and all(map(_same_labels, grid.candidates, space.labels)):
            yield space


def staged_space(grid: Grid) -> Space | None:
    """The space with stages that has the same layers, and at least these candidates, in any order."""
    for name in SPACES:
        space = build_space(name)
        labels = {layer.name: set(layer.labels) for layer in space.layers}
        own = dict(zip(grid.layers, grid.candidates, strict=True))
        if space.stages and labels.keys() == own.keys() and all(labels[one] >= set(own[one]) for one in own):
            return space
    return None


def _same_labels(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return set(one) == set(other)
