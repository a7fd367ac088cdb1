"""From a name, a text form or a file to an architecture, in a space or on a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ponas_deploy.errors import PonasError
from searchspace import DEFAULT_SPACE as DEFAULT_SPACE
from searchspace import Architecture, build_space, parse_architecture, published

if TYPE_CHECKING:
    from ponas_deploy.tables.latency import LatencyTable

Found = TypeVar("Found")


def read_architecture(text: str, space: str | None, resolution: int, classes: int) -> Architecture:
    """An architecture from a name, a text form or a file; a published name knows its own space."""
    name = space or published().get(text.strip().upper(), DEFAULT_SPACE)
    return parse_architecture(text, build_space(name, resolution, classes))


def read_choices(text: str, table: LatencyTable) -> tuple[str, ...]:
    """One label a layer of a table, whose space need not be known: then only a text form will do."""
    from ponas_deploy.tables.spaces import space_of

    space = space_of(table)
    if space is not None:
        return parse_architecture(text, space).choices
    choices = tuple(label for label in text.replace("|", ",").split(",") if label)
    table.grid.indices(choices)
    return choices


def agreed(what: str, asked: Found | None, given: Found | None) -> Found | None:
    """What was asked for or what the weights say; PonasError where they differ."""
    if asked is not None and given is not None and asked != given:
        raise PonasError(f"--{what} {asked} was asked for, but the weights are for {given}.")
    return asked if given is None else given
