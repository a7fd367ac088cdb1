"""What a search space is: layers, each with its own candidates, between a stem and a head."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from searchspace.errors import UnknownNameError
from searchspace.ops import Conv, Op, Residual

Shape = tuple[int, int, int]
"""Channels, height, width."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One choice for a layer: its label and what it is made of."""

    label: str
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One searchable position of the network."""

    name: str
    candidates: tuple[Candidate, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The candidates' labels, in order."""
        return tuple(candidate.label for candidate in self.candidates)

    def candidate(self, label: str) -> Candidate:
        """The candidate called `label`; UnknownNameError when there is none."""
        for candidate in self.candidates:
            if candidate.label == label:
                return candidate
        raise UnknownNameError(f"candidate of layer {self.name}", label, self.labels)


@dataclass(frozen=True, slots=True)
class Cell:
    """A candidate on an input shape: what is measured once, however many layers share it."""

    key: str
    ops: tuple[Op, ...]
    input_shape: Shape


@dataclass(frozen=True, slots=True)
class Space:
    """A search space at one input resolution and number of classes.

    `resolution` is the side of the square input in pixels. The fingerprint covers the searchable
    layers and their candidates only: tables made at other resolutions belong to the same space.
    """

    name: str
    stem: tuple[Op, ...]
    layers: tuple[Layer, ...]
    head: tuple[Op, ...]
    resolution: int
    classes: int

    @property
    def fingerprint(self) -> str:
        """16 hex digits that two spaces share when their layers and candidates are the same."""
        text = json.dumps([asdict(layer) for layer in self.layers], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def labels(self) -> tuple[tuple[str, ...], ...]:
        """The candidates' labels, layer by layer."""
        return tuple(layer.labels for layer in self.layers)

    @property
    def input_shape(self) -> Shape:
        """The image the network takes: (3, resolution, resolution)."""
        return (3, self.resolution, self.resolution)

    def layer_shapes(self) -> tuple[Shape, ...]:
        """The input shape of every layer, then that of the head: one more than there are layers."""
        shapes = [output_shape(self.stem, self.input_shape)]
        for layer in self.layers:
            shapes.append(output_shape(layer.candidates[0].ops, shapes[-1]))
        return tuple(shapes)

    def cell(self, layer: int, candidate: int) -> Cell:
        """The cell of a candidate at its position; equal cells have equal keys."""
        shape = self.layer_shapes()[layer]
        return _cell(self.layers[layer].candidates[candidate], shape)

    def cells(self) -> tuple[tuple[Cell, ...], ...]:
        """The cells of all layers and candidates, (layers, candidates)."""
        shapes = self.layer_shapes()
        return tuple(
            tuple(_cell(candidate, shape) for candidate in layer.candidates)
            for layer, shape in zip(self.layers, shapes, strict=False)
        )


def _cell(candidate: Candidate, shape: Shape) -> Cell:
    text = json.dumps([asdict(op) for op in candidate.ops], sort_keys=True)
    digest = hashlib.sha256(f"{text}@{shape}".encode()).hexdigest()[:8]
    size = "x".join(map(str, shape))
    return Cell(f"{candidate.label}@{size}-{digest}", candidate.ops, shape)


def output_shape(ops: tuple[Op, ...], shape: Shape) -> Shape:
    """The shape after `ops`, for one that keeps height and width."""
    channels, height, width = shape
    for conv in convolutions(ops):
        channels = conv.out_channels
        height, width = -(-height // conv.stride), -(-width // conv.stride)
    return channels, height, width


def convolutions(ops: tuple[Op, ...]) -> Iterator[Conv]:
    """The convolutions of `ops` in order, those inside a residual too."""
    for op in ops:
        if isinstance(op, Residual):
            yield from convolutions(op.body)
        elif isinstance(op, Conv):
            yield op
