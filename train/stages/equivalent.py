"""Candidates that are one and the same block on the maps they see, so that one can train for all of them.

A kernel's taps further than s - 1 from its centre meet nothing but padding on maps of side s. On 2x2 and
1x1 maps k3, k5 and k7, cropped from one block, are the same function; they get the same gradients, and stay
the same. In PONAS at 32 px that is 12 of the 19 layers, at 224 px none.
"""

from __future__ import annotations

from dataclasses import replace

from searchspace import Layer
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
    count_params,
    inner_shape,
    output_shape,
)
from train.networks.convolution import useful_radius


def equivalents(layer: Layer, shape: Shape) -> tuple[int, ...]:
    """For each candidate which one (from 0) has the same values on inputs of `shape`: the largest of them.

    The weights of the others are cut out of that one's; the rest of its taps never learns, but decays.
    """
    cropped = [_cropped(candidate.ops, shape) for candidate in layer.candidates]
    order = sorted(range(len(cropped)), key=lambda index: count_params(layer.candidates[index].ops))
    largest = {cropped[index]: index for index in order}
    return tuple(largest[ops] for ops in cropped)


def _cropped(ops: tuple[Op, ...], shape: Shape) -> tuple[Op, ...]:
    """The same operations with kernels of no more than the taps that see anything."""
    found: list[Op] = []
    for op in ops:
        if isinstance(op, Residual):
            found.append(Residual(_cropped(op.body, shape)))
        elif isinstance(op, Branches):
            inside = inner_shape(op, shape)
            found.append(replace(op, rows=tuple(_cropped(row, inside) for row in op.rows)))
        elif isinstance(op, Conv):
            found.append(replace(op, kernel=2 * useful_radius(op.kernel, max(shape[1:])) + 1))
        elif isinstance(op, (SqueezeExcite, Shuffle, GlobalPool, Dropout, Linear)):
            found.append(op)
        else:
            assert_never(op)
        shape = output_shape((op,), shape)
    return tuple(found)
