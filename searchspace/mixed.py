"""Mixed precision as a search space: every candidate twice, in full precision and on 8-bit integers.

The precision of a layer is a part of its candidate, so whatever takes a space (profiles, tables, searches,
engines) takes blocks times precisions without knowing it. The space of `ponas` is called `ponas-mixed`, the
candidate `k5e6` on integers `k5e6:int8`. Stem and head stay in full precision, and an absent layer has none.
Source: HAQ (arXiv 1811.08886) has a precision for each layer too; there an agent looks for it, here the
exact search does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from searchspace.metadata import INT8_LAYERS
from searchspace.space import CELL_MARK, Candidate, Layer, Space

if TYPE_CHECKING:
    from searchspace.architecture import Architecture

FULL, INT8, MIXED = "fp32", "int8", "mixed"
SUFFIX = f"-{MIXED}"
"""Behind the name of a space whose candidates have a precision."""
MARK = f":{INT8}"
"""Behind the label of a candidate on integers."""


@lru_cache(maxsize=32)
def mixed(space: Space) -> Space:
    """The space with every candidate that has operations in both precisions; a mixed one as it is."""
    if is_mixed(space.name):
        return space
    layers = tuple(Layer(layer.name, tuple(_both(layer.candidates))) for layer in space.layers)
    return replace(space, name=mixed_name(space.name), layers=layers)


def _both(candidates: Iterable[Candidate]) -> Iterable[Candidate]:
    for candidate in candidates:
        yield candidate
        if candidate.ops:
            yield replace(candidate, label=f"{candidate.label}{MARK}")


@lru_cache(maxsize=32)
def plain(space: Space) -> Space:
    """The space without precisions, which is `mixed` of it; one without them as it is."""
    if not is_mixed(space.name):
        return space
    layers = tuple(
        Layer(layer.name, tuple(one for one in layer.candidates if not is_int8(one.label)))
        for layer in space.layers
    )
    return replace(space, name=plain_name(space.name), layers=layers)


def plain_network(architecture: Architecture) -> Architecture:
    """The network without its precisions, of the space without them."""
    choices = tuple(map(plain_label, architecture.choices))
    return replace(architecture, space=plain(architecture.space), choices=choices)


def is_mixed(name: str) -> bool:
    """Whether a space, by its name, has a precision in each candidate."""
    return name.endswith(SUFFIX)


def mixed_name(name: str) -> str:
    """The name of the mixed space of a space, by its name; that of a mixed one as it is."""
    return name if is_mixed(name) else f"{name}{SUFFIX}"


def plain_name(name: str) -> str:
    """The name of the space that a mixed one is of."""
    return name[: -len(SUFFIX)] if is_mixed(name) else name


def is_int8(label: str) -> bool:
    """Whether a candidate, by its label or by the key of its cell, is on integers."""
    return label.partition(CELL_MARK)[0].endswith(MARK)


def plain_label(label: str) -> str:
    """The label of a candidate without its precision."""
    return label[: -len(MARK)] if label.endswith(MARK) else label


def in_int8(space: Space, choices: Sequence[str]) -> tuple[str, ...]:
    """The same choices on integers, wherever the space (a mixed one) has that candidate."""
    return tuple(
        label if is_int8(label) or f"{label}{MARK}" not in layer.labels else f"{label}{MARK}"
        for layer, label in zip(space.layers, choices, strict=True)
    )


def precisions(choices: Sequence[str]) -> tuple[str, ...]:
    """The precision of each layer, by the labels of a mixed space."""
    return tuple(INT8 if is_int8(label) else FULL for label in choices)


def said_of(space: str, int8_layers: Iterable[str]) -> dict[str, str]:
    """What a model of a space says of its precisions; nothing where the space has none."""
    return {INT8_LAYERS: " ".join(int8_layers)} if is_mixed(space) else {}
