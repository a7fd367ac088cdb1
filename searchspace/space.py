"""What a search space is: layers, each with its own candidates, between a stem and a head."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from searchspace.errors import SpaceError, UnknownNameError
from searchspace.ops import Op, Shape, as_data, count_params, output_shape

STEM, HEAD = "stem", "head"
"""The parts of a network that are not searched: before the first layer, after the last."""
CELL_MARK = "@"
"""What stands in the key of a cell, and in no label."""
_EMPTY = "-empty"
_LABEL = re.compile(rf"[^\s,|.{CELL_MARK}]+")
"""A label stands in text forms between commas, in names of tensors between dots, and in keys of cells."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One choice for a layer: its label and what it is made of. Without operations it is the identity."""

    label: str
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One searchable position of the network.

    SpaceError without a candidate, or with labels that are not unique or do not survive the text form.
    """

    name: str
    candidates: tuple[Candidate, ...]

    def __post_init__(self) -> None:
        if not self.candidates:
            raise SpaceError(f"layer '{self.name}' has no candidate: give it at least one.")
        _refuse_unreadable("layer", (self.name,))
        _refuse_unreadable(f"layer '{self.name}': candidate", self.labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """The candidates' labels, in order."""
        return tuple(candidate.label for candidate in self.candidates)

    @property
    def largest(self) -> Candidate:
        """The candidate with the most parameters: a supernet trains it first, and cuts the others from it."""
        return max(self.candidates, key=lambda candidate: count_params(candidate.ops))

    def candidate(self, label: str) -> Candidate:
        """The candidate called `label`; UnknownNameError when there is none."""
        for candidate in self.candidates:
            if candidate.label == label:
                return candidate
        raise UnknownNameError(f"candidate of layer {self.name}", label, self.labels)


@dataclass(frozen=True, slots=True)
class Cell:
    """A candidate on an input shape: what is measured once, however many layers share it.

    One without operations is not measured: it costs exactly nothing.
    """

    key: str
    ops: tuple[Op, ...]
    input_shape: Shape


@dataclass(frozen=True, slots=True)
class Space:
    """A search space at one input resolution and number of classes.

    `resolution` is the side of the square input in pixels. The fingerprint covers the searchable
    layers and their candidates only: tables made at other resolutions belong to the same space.
    `published` are known architectures of it: (name, text form).

    SpaceError when its parts do not fit: no layer, a name that stands twice, candidates of a layer with
    different output shapes, channels that an operation does not take, a head that does not give `classes`.
    """

    name: str
    stem: tuple[Op, ...]
    layers: tuple[Layer, ...]
    head: tuple[Op, ...]
    resolution: int
    classes: int
    published: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        try:
            self._check()
        except SpaceError as error:
            raise SpaceError(f"space '{self.name}': {error}") from error

    def _check(self) -> None:
        if not self.layers:
            raise SpaceError("it has no layer: give it at least one.")
        _refuse_unreadable("layer", [layer.name for layer in self.layers])
        shape = _shape_after(STEM, self.stem, self.input_shape)
        for layer in self.layers:
            shape = _shape_after_layer(layer, shape)
        logits = _shape_after(HEAD, self.head, shape)
        if logits != (self.classes, 1, 1):
            raise SpaceError(f"the head gives {logits}: it must give {self.classes} classes, flattened.")

    @property
    def fingerprint(self) -> str:
        """16 hex digits that two spaces share when their layers and candidates are the same."""
        layers = [{"name": layer.name, "candidates": _candidates(layer)} for layer in self.layers]
        return hashlib.sha256(json.dumps(layers, sort_keys=True).encode()).hexdigest()[:16]

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


def _candidates(layer: Layer) -> list[dict[str, Any]]:
    return [{"label": candidate.label, "ops": as_data(candidate.ops)} for candidate in layer.candidates]


def _cell(candidate: Candidate, shape: Shape) -> Cell:
    text = json.dumps(as_data(candidate.ops), sort_keys=True)
    digest = "-" + hashlib.sha256(f"{text}@{shape}".encode()).hexdigest()[:8] if candidate.ops else _EMPTY
    size = "x".join(map(str, shape))
    return Cell(f"{candidate.label}{CELL_MARK}{size}{digest}", candidate.ops, shape)


def is_empty(key: str) -> bool:
    """Whether a cell, by its key, is without operations, and so costs exactly nothing."""
    return CELL_MARK in key and key.endswith(_EMPTY)


def is_network(key: str) -> bool:
    """Whether the key of something that is timed is the text form of a network: of no cell, stem or head."""
    return CELL_MARK not in key and key not in (STEM, HEAD)


def _shape_after(name: str, ops: tuple[Op, ...], shape: Shape) -> Shape:
    try:
        return output_shape(ops, shape)
    except SpaceError as error:
        raise SpaceError(f"{name}: {error}") from error


def _shape_after_layer(layer: Layer, shape: Shape) -> Shape:
    """The one output shape of all candidates of a layer."""
    name, (first, *others) = f"layer '{layer.name}'", layer.candidates
    expected = _shape_after(f"{name} candidate '{first.label}'", first.ops, shape)
    for other in others:
        found = _shape_after(f"{name} candidate '{other.label}'", other.ops, shape)
        if found != expected:
            raise SpaceError(
                f"{name}: candidate '{first.label}' gives {expected}, but '{other.label}' {found}:"
                f" the candidates of a layer must give one shape."
            )
    return expected


def _refuse_unreadable(what: str, names: Iterable[str]) -> None:
    """SpaceError for a name that stands twice, or that files and text forms would tear apart."""
    for name, count in Counter(names).items():
        if count > 1:
            raise SpaceError(f"{what} '{name}' stands there {count} times: names must be unique.")
        if not _LABEL.fullmatch(name):
            raise SpaceError(
                f"{what} {name!r} is empty or has a blank or one of , | . {CELL_MARK} in it: rename it."
            )
