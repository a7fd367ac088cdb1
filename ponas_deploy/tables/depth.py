"""The depth rule of a space (`searchspace.depth`) on a table, whose layers may be in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ponas_deploy.errors import TableMismatchError
from ponas_deploy.tables.grid import Grid
from searchspace.depth import DepthFault, LayerGroups, Tail
from searchspace.space import Space


def layer_groups(grid: Grid, space: Space | None) -> LayerGroups:
    """The layers of a table in groups chosen independently; each by itself where no space is known.

    TableMismatchError where a table of some candidates has no network that keeps the depth rule.
    """
    groups = LayerGroups.of([len(labels) for labels in grid.candidates], tails(grid, space))
    if not all(groups.sizes):
        raise TableMismatchError(
            "every network of the table has a layer behind an absent one of its stage: add the candidate that"
            " leaves it out, or others before it."
        )
    return groups


def tails(grid: Grid, space: Space | None) -> tuple[Tail, ...]:
    """Of each stage the layers that may be absent, each with its absent candidate, by places in a table."""
    return tuple(_tail(grid, space, tail) for tail in space.tails) if space is not None else ()


def _tail(grid: Grid, space: Space, tail: Tail) -> Tail:
    """A tail of the space as one of the table; an absent candidate that it lacks is beyond the others."""
    places = [grid.layers.index(space.layers[layer].name) for layer, _ in tail]
    labels = [space.labels[layer][absent] for layer, absent in tail]
    rows = [grid.candidates[place] for place in places]
    indices = [row.index(one) if one in row else len(row) for row, one in zip(rows, labels, strict=True)]
    return tuple(zip(places, indices, strict=True))


def depth_fault(grid: Grid, space: Space | None, choices: Sequence[str]) -> DepthFault | None:
    """What breaks the depth rule in one label a layer of a table, its layer counted in the table's order."""
    if space is None or not space.stages:
        return None
    places = [grid.layers.index(layer.name) for layer in space.layers]
    fault = space.depth_fault([choices[place] for place in places])
    return replace(fault, layer=places[fault.layer]) if fault else None
