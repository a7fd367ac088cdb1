"""A supernet whose candidates share their weights (Once-for-all, arXiv 1908.09791, section 3.3).

What is kept is the largest network, and beside each of its depthwise kernels those of the smaller sizes:

    layers.L0.expand.conv.weight          of the widest candidate
    layers.L0.depthwise.conv.weight       7x7
    layers.L0.depthwise.conv.weight.k5    5x5, already transformed; likewise k3

A narrower candidate has the first channels of every tensor, the batch norms and squeeze-and-excite included.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from searchspace.architecture import Architecture, layer_prefix
from searchspace.errors import WeightsError
from searchspace.ops import Parameter, parameters
from searchspace.space import Layer, Space
from searchspace.weights import Weights

ELASTIC = "elastic supernet"
"""The layout, as the header of a weights file says it."""

Array = NDArray[np.float32]


def largest_network(space: Space) -> Architecture:
    """The network of the largest candidate of every layer."""
    return Architecture(space, tuple(layer.largest.label for layer in space.layers))


def kernel_name(weight: str, kernel: int) -> str:
    """The name of a depthwise weight at a smaller kernel size."""
    return f"{weight}.k{kernel}"


def smaller_kernels(weight: Array, transforms: Mapping[int, Array]) -> dict[int, Array]:
    """A depthwise weight (C, 1, K, K) at smaller kernel sizes, each made from the next larger one.

    `transforms` are the matrices (k * k, k * k) by k, from the largest k to the smallest: the centre of the
    larger kernel, its rows one after the other, is multiplied by the matrix, which all channels share.
    """
    found = {}
    for size, matrix in transforms.items():
        start = (weight.shape[-1] - size) // 2
        centre = weight[:, :, start : start + size, start : start + size]
        weight = (centre.reshape(-1, size * size) @ matrix.T).reshape(centre.shape)
        found[size] = weight
    return found


def candidates_of(shared: Weights, space: Space) -> dict[str, Array]:
    """The weights of every candidate, in the layout of a supernet, as views of the shared ones.

    WeightsError names a tensor that is missing or too small.
    """
    largest = largest_network(space)
    whole = [parameter.name for prefix, ops in largest.parts() for parameter in parameters(ops, prefix)]
    inside = tuple(f"{layer_prefix(layer)}." for layer in space.layers)
    found = {name: shared[name] for name in whole if name in shared and not name.startswith(inside)}
    for layer in space.layers:
        found |= _of_layer(shared, layer)
    return found


def _of_layer(shared: Weights, layer: Layer) -> dict[str, Array]:
    prefix, found = layer_prefix(layer), {}
    for candidate in layer.candidates:
        for parameter in parameters(candidate.ops, prefix):
            name = f"{prefix}.{candidate.label}{parameter.name.removeprefix(prefix)}"
            found[name] = _cut(shared, parameter)
    return found


def _cut(shared: Weights, parameter: Parameter) -> Array:
    """The first channels of the tensor, of the same kernel size."""
    name, shape = parameter.name, parameter.shape
    smaller = kernel_name(name, shape[-1])
    tensor = shared.get(smaller, shared.get(name))
    if tensor is None:
        raise WeightsError(f"the weights lack '{name}', which the candidates of a layer share.")
    fits = len(shape) == tensor.ndim and shape[2:] == tensor.shape[2:]
    if not fits or any(want > have for want, have in zip(shape, tensor.shape, strict=True)):
        raise WeightsError(f"'{name}' has shape {tensor.shape}, too small for {shape}.")
    return tensor[tuple(map(slice, shape))]
