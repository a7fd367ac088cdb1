"""What a search space is: layers, each with its own candidates, between a stem and a head."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from searchspace.depth import MOST_COMBINATIONS, DepthFault, LayerGroups, Tail, count_combinations
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

    @property
    def absent(self) -> int | None:
        """The index of the candidate without operations, with which the layer is absent; None without one."""
        empty = (index for index, candidate in enumerate(self.candidates) if not candidate.ops)
        return next(empty, None)

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
    `published` are known architectures of it: (name, text form). `stages` are the numbers of layers of its
    stages, where layers are absent from the end of a stage only (`searchspace.depth`); without stages every
    layer that may be absent may be so whatever the others are.

    SpaceError when its parts do not fit: no layer, a name that stands twice, candidates of a layer with
    different output shapes, channels that an operation does not take, a head that does not give `classes`,
    stages that are not those of the layers or that a layer cannot be left out of.
    """

    name: str
    stem: tuple[Op, ...]
    layers: tuple[Layer, ...]
    head: tuple[Op, ...]
    resolution: int
    classes: int
    published: tuple[tuple[str, str], ...] = ()
    stages: tuple[int, ...] = ()

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
        self._check_stages()

    def _check_stages(self) -> None:
        if self.stages and (sum(self.stages) != len(self.layers) or min(self.stages) < 1):
            given = " + ".join(map(str, self.stages))
            raise SpaceError(f"its stages have {given} layers, and there are {len(self.layers)} layers.")
        for members in self._stages():
            optional = [layer.absent is not None for layer in members]
            if optional != sorted(optional):
                last = members[len(optional) - 1 - optional[::-1].index(False)]
                raise SpaceError(
                    f"layer '{last.name}' cannot be absent, but one before it in its stage can: layers of a"
                    " stage are left out from its end."
                )
            count = count_combinations([len(one.candidates) for one in members if one.absent is not None])
            if count > MOST_COMBINATIONS:
                raise SpaceError(
                    f"the layers of the stage of '{members[0].name}' that may be absent have {count}"
                    f" combinations: at most {MOST_COMBINATIONS} are searched."
                )

    def _stages(self) -> Iterator[tuple[Layer, ...]]:
        """The layers of each stage; none without stages."""
        start = 0
        for size in self.stages:
            yield self.layers[start : start + size]
            start += size

    @property
    def fingerprint(self) -> str:
        """16 hex digits that two spaces share when their layers and candidates are the same."""
        layers: list[Any] = [{"name": layer.name, "candidates": _candidates(layer)} for layer in self.layers]
        if self.stages:
            layers.append({"stages": self.stages})
        return hashlib.sha256(json.dumps(layers, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def labels(self) -> tuple[tuple[str, ...], ...]:
        """The candidates' labels, layer by layer."""
        return tuple(layer.labels for layer in self.layers)

    @property
    def tails(self) -> tuple[Tail, ...]:
        """Of each stage the layers that may be absent, each with the index of its absent candidate."""
        places = {layer.name: place for place, layer in enumerate(self.layers)}
        return tuple(
            tuple((places[layer.name], layer.absent) for layer in members if layer.absent is not None)
            for members in self._stages()
        )

    @property
    def groups(self) -> LayerGroups:
        """The layers in groups that are chosen independently of each other."""
        return LayerGroups.of([len(layer.candidates) for layer in self.layers], self.tails)

    def depth_fault(self, choices: Sequence[str]) -> DepthFault | None:
        """What breaks the depth rule in one label a layer; None where nothing does."""
        for tail in self.tails:
            here = [choices[place] == self.layers[place].candidates[absent].label for place, absent in tail]
            for (before, _), (place, _), gone, stays in zip(tail, tail[1:], here, here[1:], strict=False):
                if gone and not stays:
                    first, layer = self.layers[before].name, self.layers[place].name
                    return DepthFault(
                        place,
                        f"layer '{layer}' is '{choices[place]}' behind layer '{first}', which is absent: the"
                        f" layers of a stage are left out from its end. Leave '{layer}' out too, or choose a"
                        f" candidate for '{first}'.",
                    )
        return None

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
