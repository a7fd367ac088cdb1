"""The activations that a network holds at once: what it takes of memory besides its weights.

Counted as a runtime that frees what nobody reads any more: the input and the output of the operation that
runs, and the input of a residual or of branches for as long as their bodies run.
"""

from __future__ import annotations

from math import prod

from searchspace.ops import Op, Shape, inner_rows, inner_shape, output_shape
from searchspace.space import Space


def most_activations(ops: tuple[Op, ...], shape: Shape) -> int:
    """The most values (of one image) that are held at once while `ops` run on an input of a shape."""
    most = prod(shape)
    for op in ops:
        after, inside, rows = output_shape((op,), shape), inner_shape(op, shape), inner_rows(op)
        held = prod(after) + prod(shape)
        within = max((most_activations(row, inside) for row in rows), default=0)
        most = max(most, held, prod(shape) + within if rows else 0)
        shape = after
    return most


def most_of_space(space: Space) -> int:
    """The most that any network of a space holds at once, stem and head among it."""
    *shapes, head = space.layer_shapes()
    layers = (
        most_activations(candidate.ops, shape)
        for layer, shape in zip(space.layers, shapes, strict=True)
        for candidate in layer.candidates
    )
    ends = most_activations(space.stem, space.input_shape), most_activations(space.head, head)
    return max(*layers, *ends)
