"""What is built in order to be timed: the blocks of a space alone and whole networks, weights of no use."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np
from numpy.typing import NDArray

from searchspace.architecture import Architecture
from searchspace.cost import count_bytes, count_working_values
from searchspace.mixed import is_int8, said_of
from searchspace.ops import Op, Parameter, Shape, parameters
from searchspace.space import HEAD, STEM, Space

Block = tuple[tuple[Op, ...], Shape]
"""Operations and the shape of their input."""

WEIGHTS = "random, with biases"
"""What a profile times, as tables and journals say it."""
_BLOCK = "block"
_POOL = np.random.default_rng(0).standard_normal(1 << 12, dtype=np.float32)


def blocks_of(space: Space) -> dict[str, Block]:
    """What is timed alone: stem, head and the distinct cells that have operations, by key."""
    blocks = {STEM: (space.stem, space.input_shape), HEAD: (space.head, space.layer_shapes()[-1])}
    blocks.update(
        {cell.key: (cell.ops, cell.input_shape) for row in space.cells() for cell in row if cell.ops}
    )
    return blocks


def least_bytes(ops: tuple[Op, ...], shape: Shape, batch: int, value_bytes: int = 4) -> int:
    """The least memory that operations take as they run: weights, and the largest input with its output."""
    weights = count_bytes(ops) // 4
    return value_bytes * (weights + batch * count_working_values(ops, shape))


def working_bytes(architecture: Architecture, batch: int) -> int:
    """The largest input with its output in a whole network, in float32."""
    space = architecture.space
    shapes = (space.input_shape, *space.layer_shapes())
    parts = zip(architecture.parts(), shapes, strict=True)
    return 4 * batch * max(count_working_values(ops, shape) for (_, ops), shape in parts)


def block_model(key: str, block: Block, batch: int, space: str = "") -> bytes:
    """One block as an ONNX model; of a mixed `space`, by its name, it says whether it is on integers.

    One that is takes and gives floats, as inside a network between layers of full precision.
    """
    from onnx.helper import set_model_props

    from searchspace.graph import model

    ops, shape = block
    made = model([(_BLOCK, ops)], shape, quick_weights(parameters(ops, _BLOCK)), batch, key)
    set_model_props(made, said_of(space, (_BLOCK,) * is_int8(key)))
    return bytes(made.SerializeToString())


def network_bytes(architecture: Architecture, batch: int) -> bytes:
    """A whole network as an ONNX model."""
    from searchspace.graph import network_model
    from searchspace.weights import network_parameters

    weights = quick_weights(network_parameters(architecture))
    return bytes(network_model(architecture, weights, batch).SerializeToString())


def quick_weights(wanted: Iterable[Parameter]) -> dict[str, NDArray[np.float32]]:
    """He-normal weights repeated from one small pool: a latency needs the size, not the draw.

    Ten times faster than drawing them, and a profile builds a hundred networks. Batch norm is away from the
    identity: a runtime leaves out biases of zero, and an engine has others (1 % for OpenVINO). It scales all
    channels alike, so that what repeats still does when it is folded, and travels as one pattern (`parcels`).
    """
    tensors = {}
    for parameter in wanted:
        shape = parameter.shape
        drawn = np.resize(_POOL, shape)
        if parameter.role == "weight":
            tensors[parameter.name] = drawn * np.float32(np.sqrt(2.0 / prod(shape[1:])))
        else:
            scales = parameter.role in ("norm_weight", "norm_var")
            tensors[parameter.name] = np.full_like(drawn, 1.1) if scales else np.float32(0.1) * drawn
    return tensors
