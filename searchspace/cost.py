"""What operations cost, counted: parameters, MACs, bytes.

MACs are multiply-accumulates of convolutions, squeeze-and-excite and linear layers at batch 1: what
the PONAS paper calls FLOPs. Parameters leave out batch norm's running statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TypeAlias

from searchspace.architecture import Architecture
from searchspace.ops import (
    Branches,
    Conv,
    Dropout,
    GlobalPool,
    Linear,
    Op,
    Residual,
    Shape,
    Shuffle,
    SqueezeExcite,
    assert_never,
    inner_rows,
    inner_shape,
    output_shape,
    parameters,
)
from searchspace.space import Space

Count: TypeAlias = Callable[[tuple[Op, ...], Shape], int]
"""What operations cost on an input of a shape; costs add up over the parts of a network."""

FLOAT32_BYTES = 4


def count_bytes(ops: tuple[Op, ...], shape: Shape | None = None) -> int:
    """Bytes of `ops` as deployed in float32, batch norm folded into a bias a channel, on any input."""
    folded = sum(
        prod(parameter.shape)
        for parameter in parameters(ops, "")
        if parameter.role in ("weight", "bias", "norm_bias")
    )
    return FLOAT32_BYTES * folded


def count_macs(ops: tuple[Op, ...], shape: Shape) -> int:
    """Multiply-accumulates of `ops` on one input of `shape`."""
    total = 0
    for op in ops:
        after = output_shape((op,), shape)
        inside = inner_shape(op, shape)
        total += _own_macs(op, after) + sum(count_macs(row, inside) for row in inner_rows(op))
        shape = after
    return total


def _own_macs(op: Op, shape: Shape) -> int:
    """Those of an operation without its children; `shape` is that of its output."""
    if isinstance(op, Conv):
        return prod(shape) * op.in_channels // op.groups * op.kernel**2
    if isinstance(op, SqueezeExcite):
        return 2 * op.channels * op.hidden
    if isinstance(op, Linear):
        return op.in_features * op.out_features
    if isinstance(op, (Residual, Branches, Shuffle, GlobalPool, Dropout)):
        return 0
    assert_never(op)


def count_working_values(ops: tuple[Op, ...], shape: Shape) -> int:
    """The most values that input and output of one operation hold together, for one input of `shape`.

    So much besides the weights is in the memory at once, at least.
    """
    most = 0
    for op in ops:
        after, inside = output_shape((op,), shape), inner_shape(op, shape)
        inner = (count_working_values(row, inside) for row in inner_rows(op))
        most = max(most, prod(shape) + prod(after), *inner)
        shape = after
    return most


def count_mmrazor(ops: tuple[Op, ...], shape: Shape) -> int:
    """What MMRazor's own counter calls FLOPs: more than MACs, so that published figures can be compared.

    To the MACs come 2 for each output of a batch norm, 1 for each of an activation, and the inputs of a pool.
    """
    total = 0
    for op in ops:
        after = output_shape((op,), shape)
        inside = inner_shape(op, shape)
        total += _own_macs(op, after) + _own_extras(op, shape, after)
        total += sum(count_mmrazor(row, inside) for row in inner_rows(op))
        shape = after
    return total


def _own_extras(op: Op, shape: Shape, after: Shape) -> int:
    """What MMRazor's counter adds to the MACs of an operation without those inside it."""
    if isinstance(op, Conv):
        return prod(after) * (2 + (op.activation is not None))
    if isinstance(op, SqueezeExcite):
        return prod(shape) + op.hidden + op.channels
    if isinstance(op, Linear):
        return op.out_features if op.activation else 0
    if isinstance(op, GlobalPool):
        return prod(shape)
    if isinstance(op, (Residual, Branches, Shuffle, Dropout)):
        return 0
    assert_never(op)


COUNTERS: dict[str, Count] = {"mmrazor": count_mmrazor}
"""How other projects count what they call FLOPs, by project."""


def network_cost(count: Count, architecture: Architecture) -> int:
    """What `count` tells of a whole network."""
    space = architecture.space
    shapes = (space.input_shape, *space.layer_shapes())
    return sum(count(ops, shape) for (_, ops), shape in zip(architecture.parts(), shapes, strict=True))


def cost_table(count: Count, space: Space) -> tuple[int, tuple[tuple[int, ...], ...]]:
    """What `count` tells of a space: (stem and head, (layers, candidates))."""
    *shapes, head_shape = space.layer_shapes()
    fixed = count(space.stem, space.input_shape) + count(space.head, head_shape)
    cells = tuple(
        tuple(count(candidate.ops, shape) for candidate in layer.candidates)
        for layer, shape in zip(space.layers, shapes, strict=True)
    )
    return fixed, cells
