"""A supernet whose candidates share their weights (Once-for-all, arXiv 1908.09791, section 3.3).

What is kept is the largest network, and beside each of its depthwise kernels those of the smaller sizes, with
the matrices that make them:

    layers.L0.expand.conv.weight          of the widest candidate
    layers.L0.depthwise.conv.weight       7x7
    layers.L0.depthwise.conv.weight.k5    5x5, already transformed; likewise k3
    layers.L0.depthwise.conv.matrix.5     25x25, from the centre of 7x7 to 5x5; matrix.3: from 5x5 to 3x3

Matrices are for training alone, and older files have none: `with_matrices` fits them to the kernels.
A narrower candidate has the first channels of every tensor, the batch norms and squeeze-and-excite included.
"""

from __future__ import annotations

from math import isqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from searchspace.architecture import Architecture, layer_prefix
from searchspace.errors import WeightsError
from searchspace.ops import Parameter, parameters
from searchspace.space import Layer, Space
from searchspace.weights import Weights

ELASTIC: Final = "elastic supernet"
"""The layout, as the header of a weights file says it."""

Array = NDArray[np.float32]


def largest_network(space: Space) -> Architecture:
    """The network of the largest candidate of every layer."""
    return Architecture(space, tuple(layer.largest.label for layer in space.layers))


def kernel_name(weight: str, kernel: int) -> str:
    """The name of a depthwise weight at a smaller kernel size."""
    return f"{weight}.k{kernel}"


def matrix_name(weight: str, kernel: int) -> str:
    """The name of the matrix that makes a depthwise weight of size `kernel` from the next larger one."""
    return f"{weight.removesuffix('weight')}matrix.{kernel}"


def smaller_sizes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """The weights of a layer that its candidates have at several kernel sizes: the smaller ones, falling."""
    prefix = layer_prefix(layer)
    largest = {parameter.name: parameter.shape for parameter in parameters(layer.largest.ops, prefix)}
    found: dict[str, set[int]] = {}
    for candidate in layer.candidates:
        for name, shape in ((one.name, one.shape) for one in parameters(candidate.ops, prefix)):
            if len(shape) == 4 and shape[-1] < largest.get(name, shape)[-1]:
                found.setdefault(name, set()).add(shape[-1])
    return {name: tuple(sorted(sizes, reverse=True)) for name, sizes in found.items()}


def transformed(weight: Any, matrix: Any) -> Any:
    """A weight (C, D, K, K) at the kernel size k of a matrix (k * k, k * k); NumPy's or torch's.

    The centre of the kernel, its rows one after the other, is multiplied by the matrix, which all channels
    share.
    """
    centre = _centre(weight, isqrt(len(matrix)))
    return (centre.reshape(-1, len(matrix)) @ matrix.T).reshape(centre.shape)


def _centre(weight: Any, size: int) -> Any:
    start = (weight.shape[-1] - size) // 2
    return weight[:, :, start : start + size, start : start + size]


def with_smaller_kernels(shared: Weights, space: Space) -> dict[str, Array]:
    """The shared weights with all smaller kernels, each made of the next larger one by its matrix."""
    found = dict(shared)
    for layer in space.layers:
        for name, sizes in smaller_sizes(layer).items():
            weight = shared[name]
            for size in sizes:
                weight = transformed(weight, shared[matrix_name(name, size)])
                found[kernel_name(name, size)] = np.ascontiguousarray(weight)
    return found


def with_matrices(shared: Weights, space: Space) -> dict[str, Array]:
    """The shared weights with all matrices; one that a file lacks is fitted to its kernels by least squares.

    That is exact, to rounding, where a matrix made them. WeightsError names a kernel that is missing.
    """
    found = dict(shared)
    for layer in space.layers:
        for name, sizes in smaller_sizes(layer).items():
            larger = _present(shared, name)
            for size in sizes:
                smaller = _present(shared, kernel_name(name, size))
                if (matrix := matrix_name(name, size)) not in shared:
                    found[matrix] = _fitted(larger, smaller)
                larger = smaller
    return found


def _fitted(larger: Array, smaller: Array) -> Array:
    pixels = smaller.shape[-1] ** 2
    given = _centre(larger, smaller.shape[-1]).reshape(-1, pixels).astype(np.float64)
    solved = np.linalg.lstsq(given, smaller.reshape(-1, pixels).astype(np.float64), rcond=None)[0]
    return np.ascontiguousarray(solved.T, dtype=np.float32)


def _present(shared: Weights, name: str) -> Array:
    if name not in shared:
        raise WeightsError(f"the weights lack '{name}', which the candidates of a layer share.")
    return shared[name]


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
    tensor = _present(shared, name)
    if len(shape) == tensor.ndim == 4 and shape[-1] < tensor.shape[-1]:
        tensor = _present(shared, kernel_name(name, shape[-1]))
    fits = len(shape) == tensor.ndim and shape[2:] == tensor.shape[2:]
    if not fits or any(want > have for want, have in zip(shape, tensor.shape, strict=True)):
        raise WeightsError(f"'{name}' has shape {tensor.shape}, too small for {shape}.")
    return tensor[tuple(map(slice, shape))]
