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
    Conv,
    Dropout,
    GlobalPool,
    Linear,
    Op,
    Residual,
    Shape,
    SqueezeExcite,
    assert_never,
    children,
    output_shape,
    parameters,
)
from searchspace.space import Space

Count: TypeAlias = Callable[[tuple[Op, ...], Shape], int]
"""What operations cost on an input of a shape; costs add up over the parts of a network."""

_FLOAT32_BYTES = 4


def count_bytes(ops: tuple[Op, ...], shape: Shape | None = None) -> int:
    """Bytes of `ops` as deployed in float32, batch norm folded into a bias a channel, on any input."""
    folded = sum(
        prod(parameter.shape)
        for parameter in parameters(ops, "")
        if parameter.role in ("weight", "bias", "norm_bias")
    )
    return _FLOAT32_BYTES * folded


def count_macs(ops: tuple[Op, ...], shape: Shape) -> int:
    """Multiply-accumulates of `ops` on one input of `shape`."""
    total = 0
    for op in ops:
        after = output_shape((op,), shape)
        total += count_macs(children(op), shape) + _own_macs(op, after)
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
    if isinstance(op, (Residual, GlobalPool, Dropout)):
        return 0
    assert_never(op)


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
