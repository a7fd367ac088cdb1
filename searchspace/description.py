"""What an architecture is made of, layer by layer, with its cost."""

from __future__ import annotations

from dataclasses import dataclass

from searchspace.architecture import Architecture
from searchspace.cost import COUNTERS, FLOAT32_BYTES, count_bytes, count_macs, network_cost
from searchspace.errors import UnknownNameError
from searchspace.ops import Op, Shape, count_params, stride_of
from searchspace.space import HEAD, STEM
from searchspace.spaces.spos import FIGURES
from searchspace.zoo import PublishedFigures, published_network


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a network: `candidate` is empty for the stem and the head, bytes are float32."""

    name: str
    candidate: str
    input_shape: Shape
    stride: int
    params: int
    macs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Description:
    """A whole network: its parts in order, the stem first and the head last."""

    architecture: Architecture
    parts: tuple[Part, ...]
    counter: str | None = None

    @property
    def flops(self) -> int | None:
        """What the `counter` of another project says of the whole network; None without one."""
        return network_cost(COUNTERS[self.counter], self.architecture) if self.counter else None

    @property
    def params(self) -> int:
        """Trainable values of the whole network."""
        return sum(part.params for part in self.parts)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image, what the paper calls FLOPs."""
        return sum(part.macs for part in self.parts)

    @property
    def bytes(self) -> int:
        """Bytes of the deployed float32 weights, batch norm folded."""
        return sum(part.bytes for part in self.parts)

    @property
    def deployed_params(self) -> int:
        """Values of the deployed network, batch norm folded into a bias a channel."""
        return self.bytes // FLOAT32_BYTES

    @property
    def published(self) -> PublishedFigures | None:
        """What its source states of the network; None where nobody is known to have published it."""
        return published_figures(self.architecture)


def published_figures(architecture: Architecture) -> PublishedFigures | None:
    """What its source states of a network of a space to search, or of one that is a space of its own."""
    space = architecture.space.name
    network = published_network(space)
    return network.figures if network else FIGURES.get((space, architecture.name))


def describe(architecture: Architecture, counter: str | None = None) -> Description:
    """Count an architecture part by part; the parts add up to the whole.

    UnknownNameError for a `counter` that is none of `COUNTERS`.
    """
    if counter not in (None, *COUNTERS):
        raise UnknownNameError("counter", str(counter), COUNTERS)
    space = architecture.space
    names = (STEM, *(layer.name for layer in space.layers), HEAD)
    labels = ("", *architecture.choices, "")
    shapes = (space.input_shape, *space.layer_shapes())
    return Description(
        architecture,
        tuple(
            _part(name, label, ops, shape)
            for name, label, (_, ops), shape in zip(names, labels, architecture.parts(), shapes, strict=True)
        ),
        counter,
    )


def _part(name: str, label: str, ops: tuple[Op, ...], shape: Shape) -> Part:
    return Part(
        name, label, shape, stride_of(ops), count_params(ops), count_macs(ops, shape), count_bytes(ops)
    )


@dataclass(frozen=True, slots=True)
class PartDocument:
    """See `Part`; `candidate` is None for the stem and the head."""

    name: str
    candidate: str | None
    input_shape: tuple[int, ...]
    stride: int
    params: int
    macs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DescriptionDocument:
    """What `ponas describe --json` prints: the network, its totals, and its parts in order.

    `flops` is what the `counter` of another project says; both are None without one. `params` are those that
    are trained, `deployed_params` those of an engine, as `ponas compare --device` counts them: batch norm is
    folded into a bias a channel. `published` is what the network's source states of it, None without one.
    """

    space: str
    fingerprint: str
    resolution: int
    classes: int
    text: str
    choices: tuple[str, ...]
    params: int
    macs: int
    bytes: int
    layers: tuple[PartDocument, ...]
    counter: str | None
    flops: int | None
    deployed_params: int
    published: PublishedFigures | None


def description_document(description: Description) -> DescriptionDocument:
    """A description as `ponas describe --json` prints it."""
    architecture = description.architecture
    space = architecture.space
    return DescriptionDocument(
        space.name,
        space.fingerprint,
        space.resolution,
        space.classes,
        architecture.text,
        architecture.choices,
        description.params,
        description.macs,
        description.bytes,
        tuple(map(_part_document, description.parts)),
        description.counter,
        description.flops,
        description.deployed_params,
        description.published,
    )


def _part_document(part: Part) -> PartDocument:
    candidate = part.candidate or None
    return PartDocument(
        part.name, candidate, part.input_shape, part.stride, part.params, part.macs, part.bytes
    )
