"""Weights as plain NumPy arrays by name: random ones, a supernet's, and the check that they fit.

Two layouts, both flat dictionaries. A network: `layers.3.expand.conv.weight`. A supernet, which
holds every candidate: `layers.3.k5e6se.expand.conv.weight`. Stem and head read the same in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from math import prod
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from searchspace.architecture import Architecture, layer_prefix
from searchspace.errors import WeightsError
from searchspace.ops import Op, Parameter, parameters
from searchspace.space import Space

Weights = Mapping[str, NDArray[np.float32]]


class Shaped(Protocol):
    """What weights are made of: NumPy arrays, or another library's tensors."""

    @property
    def shape(self) -> tuple[Any, ...]:
        """The length of each dimension."""


Tensor = TypeVar("Tensor", bound=Shaped)


def network_parameters(architecture: Architecture) -> Iterator[Parameter]:
    """Every tensor of a network, in order."""
    for prefix, ops in architecture.parts():
        yield from parameters(ops, prefix)


def random_weights(architecture: Architecture, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights of the right size for a network that was never trained; the same seed, the same values."""
    return random_tensors(network_parameters(architecture), seed)


def random_block(ops: tuple[Op, ...], prefix: str, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Random weights of some operations alone."""
    return random_tensors(parameters(ops, prefix), seed)


def random_tensors(wanted: Iterator[Parameter], seed: int) -> dict[str, NDArray[np.float32]]:
    """He-normal weights (arXiv 1502.01852), batch norm away from the identity so that folding shows."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for parameter in wanted:
        shape = parameter.shape
        if parameter.role == "weight":
            value = rng.normal(0.0, np.sqrt(2.0 / prod(shape[1:])), shape)
        elif parameter.role in ("norm_weight", "norm_var"):
            value = rng.uniform(0.75, 1.25, shape)
        else:
            value = rng.normal(0.0, 0.1, shape)
        tensors[parameter.name] = value.astype(np.float32)
    return tensors


def is_supernet(weights: Mapping[str, Shaped], space: Space) -> bool:
    """Whether `weights` are in the supernet's layout: they hold the first tensor of some candidate."""
    return any(
        parameter.name in weights
        for layer in space.layers
        for candidate in layer.candidates
        for parameter in islice(parameters(candidate.ops, f"{layer_prefix(layer)}.{candidate.label}"), 1)
    )


def network_of(weights: Mapping[str, Shaped], space: Space) -> Architecture | None:
    """The network of a space that `weights` are of, by the names and shapes of their tensors.

    None where they are of no network of this space. Of candidates with the same tensors the first counts.
    """
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}

    def has(ops: tuple[Op, ...], prefix: str) -> bool:
        inside = {name: shape for name, shape in found.items() if name.startswith(f"{prefix}.")}
        return inside == {one.name: one.shape for one in parameters(ops, prefix)}

    labels = []
    for layer in space.layers:
        fitting = (one.label for one in layer.candidates if has(one.ops, layer_prefix(layer)))
        labels.append(next(fitting, ""))
    if not all(labels) or space.depth_fault(labels):
        return None
    return Architecture(space, tuple(labels))


def inherit(weights: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """The weights of a network: its own, or those a supernet holds for its choices; nothing is copied.

    Raises WeightsError that names the first tensor that is missing or has another shape, and the
    first that a network's file holds too much.
    """
    supernet, layers = is_supernet(weights, architecture.space), architecture.space.layers
    chosen = {layer_prefix(layer): label for layer, label in zip(layers, architecture.choices, strict=True)}
    inherited = {}
    for prefix, ops in architecture.parts():
        source = f"{prefix}.{chosen[prefix]}" if supernet and prefix in chosen else prefix
        for parameter in parameters(ops, prefix):
            name = source + parameter.name[len(prefix) :]
            inherited[parameter.name] = _checked(weights, name, parameter.shape)
    extra = sorted(set(weights) - set(inherited))
    if extra and not supernet:
        raise WeightsError(
            f"the weights hold '{extra[0]}', which this network does not have ({len(extra)} so)."
        )
    return inherited


def _checked(weights: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    if name not in weights:
        raise WeightsError(f"the weights lack '{name}' of shape {shape}: they belong to another network.")
    found = tuple(weights[name].shape)
    if found != shape:
        raise WeightsError(f"'{name}' has shape {found} in the weights, but the network needs {shape}.")
    return weights[name]
