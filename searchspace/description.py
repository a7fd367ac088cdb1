"""What an architecture is made of, layer by layer, with its cost."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from searchspace.architecture import Architecture
from searchspace.cost import count_bytes, count_macs
from searchspace.ops import Op, Shape, convolutions, count_params
from searchspace.space import HEAD, STEM


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


def describe(architecture: Architecture) -> Description:
    """Count an architecture part by part; the parts add up to the whole."""
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
    )


def _part(name: str, label: str, ops: tuple[Op, ...], shape: Shape) -> Part:
    stride = prod(conv.stride for conv in convolutions(ops))
    return Part(name, label, shape, stride, count_params(ops), count_macs(ops, shape), count_bytes(ops))


def document(description: Description) -> dict[str, Any]:
    """A description as `ponas describe --json` prints it."""
    architecture = description.architecture
    return {
        "space": architecture.space.name,
        "fingerprint": architecture.space.fingerprint,
        "resolution": architecture.space.resolution,
        "classes": architecture.space.classes,
        "text": architecture.text,
        "choices": list(architecture.choices),
        "params": description.params,
        "macs": description.macs,
        "bytes": description.bytes,
        "layers": [
            {
                "name": part.name,
                "candidate": part.candidate or None,
                "input_shape": list(part.input_shape),
                "stride": part.stride,
                "params": part.params,
                "macs": part.macs,
                "bytes": part.bytes,
            }
            for part in description.parts
        ],
    }
