"""An architecture: one candidate a layer, and its text form.

The text form is the labels separated by commas (`k5e6,k5e3,k7e3se,...`). Published networks have
names; a file holds the same text, or a JSON object with `choices` (what `--json` and an engine's
manifest write).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from searchspace.errors import ArchitectureError, UnknownNameError
from searchspace.ops import Op
from searchspace.space import HEAD, STEM, Layer, Space
from searchspace.spaces.registry import published, published_space
from searchspace.zoo.registry import published_networks


@dataclass(frozen=True, slots=True)
class Architecture:
    """One label a layer of `space`; ArchitectureError when they do not fit it or break its depth rule."""

    space: Space
    choices: tuple[str, ...]

    def __post_init__(self) -> None:
        layers = self.space.layers
        if len(self.choices) != len(layers):
            raise ArchitectureError(
                f"space '{self.space.name}' has {len(layers)} layers, but {len(self.choices)} choices"
                f" were given: write one candidate a layer, separated by commas."
            )
        for layer, label in zip(layers, self.choices, strict=True):
            layer.candidate(label)
        if fault := self.space.depth_fault(self.choices):
            raise ArchitectureError(fault.text)

    @classmethod
    def from_indices(cls, space: Space, indices: Sequence[int]) -> Architecture:
        """The architecture that takes candidate `indices[l]` in layer l."""
        return cls(space, tuple(space.labels[layer][int(i)] for layer, i in enumerate(indices)))

    @classmethod
    def from_text(cls, space: Space, text: str) -> Architecture:
        """The architecture whose `text` this is."""
        return cls(space, labels_in(text))

    @property
    def indices(self) -> tuple[int, ...]:
        """The position of each choice among its layer's candidates."""
        return tuple(
            labels.index(label) for labels, label in zip(self.space.labels, self.choices, strict=True)
        )

    @property
    def text(self) -> str:
        """The text form; `parse_architecture` reads it back."""
        return text_form(self.choices)

    @property
    def name(self) -> str:
        """What people call it: its published name, else its text form."""
        return next((name for name, text in self.space.published if text == self.text), self.text)

    def __str__(self) -> str:
        return self.text

    def parts(self) -> Iterator[tuple[str, tuple[Op, ...]]]:
        """The whole network in order: (prefix of its parameters, operations)."""
        yield STEM, self.space.stem
        for layer, label in zip(self.space.layers, self.choices, strict=True):
            yield layer_prefix(layer), layer.candidate(label).ops
        yield HEAD, self.space.head


def only_network(space: Space) -> Architecture | None:
    """The network of a space with one candidate a layer; None where there is a choice."""
    if any(len(layer.candidates) > 1 for layer in space.layers):
        return None
    return Architecture.from_indices(space, (0,) * len(space.layers))


def layer_prefix(layer: Layer) -> str:
    """What the names of a layer's parameters begin with."""
    return f"layers.{layer.name}"


def parse_architecture(text: str, space: Space) -> Architecture:
    """Read a published name or a text form (`tables/architectures.py` reads files too).

    Raises ArchitectureError or UnknownNameError, which list what exists.
    """
    known = {name.upper(): choices for name, choices in space.published}
    if text.strip().upper() in known:
        return Architecture.from_text(space, known[text.strip().upper()])
    labels = labels_in(text)
    if len(labels) > 1 or (len(space.layers) == 1 and labels):
        return Architecture(space, labels)
    if name := published_space(text):
        raise ArchitectureError(
            f"{text.strip()} belongs to space '{name}', not '{space.name}':"
            f" name a network of '{space.name}', or tables and --space of '{name}'."
        )
    names = (*published(), *published_networks())
    raise UnknownNameError("architecture (neither a name, a text form nor a file)", text, names)


def labels_in(text: str) -> tuple[str, ...]:
    """The labels of a text form, which may stand apart by commas, blanks, line ends or bars."""
    return tuple(re.findall(r"[^\s,|]+", text))


def text_form(labels: Sequence[str]) -> str:
    """Labels separated by commas; one that holds a comma or a quotation mark is quoted, as in CSV."""
    return ",".join(_quoted(label) if re.search('[,"\r\n]', label) else label for label in labels)


def _quoted(label: str) -> str:
    doubled = label.replace('"', '""')
    return f'"{doubled}"'
