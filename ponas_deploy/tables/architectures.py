"""From a name, a text form or a file to an architecture, in a space or on a table."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ponas_deploy.errors import FileFormatError, PonasError
from searchspace import DEFAULT_SPACE as DEFAULT_SPACE
from searchspace import Architecture, ArchitectureError, build_space, parse_architecture, published
from searchspace.architecture import labels_in

if TYPE_CHECKING:
    from ponas_deploy.tables.latency import LatencyTable
    from searchspace.space import Space

Found = TypeVar("Found")


def read_architecture(text: str, space: str | None, resolution: int, classes: int) -> Architecture:
    """An architecture from a name, a text form or a file; a published name knows its own space."""
    name = space or published().get(text.strip().upper(), DEFAULT_SPACE)
    return architecture_in(text, build_space(name, resolution, classes))


def architecture_in(text: str, space: Space) -> Architecture:
    """An architecture of a space: a published name, a text form, or the path of a file that holds either.

    The file is text, or JSON with a list `choices` (a manifest has one). ArchitectureError or
    UnknownNameError say what is wrong with it, and what there is.
    """
    if text.strip().upper() in published() or not os.path.exists(text):
        return parse_architecture(text, space)
    if not os.path.isdir(text):
        return Architecture(space, _labels_of_file(Path(text)))
    try:
        return parse_architecture(text, space)
    except PonasError as error:
        raise ArchitectureError(f"{text} is a folder, no architecture: name a file in it.") from error


def _labels_of_file(path: Path) -> tuple[str, ...]:
    found = _content_of_file(path)
    return labels_in(found) if isinstance(found, str) else found


def _content_of_file(path: Path) -> str | tuple[str, ...]:
    """The text of a file, or the labels that its JSON lists."""
    from ponas_deploy.files.documents import parse
    from ponas_deploy.files.kinds import reason_against
    from ponas_deploy.files.opening import read_text
    from ponas_deploy.tables.foreign import foreign_reason

    try:
        if reason := reason_against(path, _WHAT) or foreign_reason(path, _WHAT):
            raise ArchitectureError(f"{path} {reason}")
        text = read_text(path)
        document = parse(text, path) if text.lstrip().startswith(("{", "[")) else None
    except FileFormatError as error:
        raise ArchitectureError(f"{path} cannot be read as an architecture: it {error.reason}") from error
    if document is None:
        return _no_table(path, text)
    return _labels_of_document(path, document)


_WHAT = "architecture"


def _labels_of_document(path: Path, document: Any) -> tuple[str, ...]:
    """The labels that a JSON value lists; ArchitectureError says what else it is."""
    from ponas_deploy.files.kinds import other_document

    keys = document if isinstance(document, dict) else {"choices": document}
    choices = keys.get("choices", keys.get("architecture"))
    if isinstance(choices, list) and all(isinstance(label, str) for label in choices):
        return tuple(choices)
    if "choices" not in keys and (kind := other_document(keys)):
        raise ArchitectureError(f"{path} {kind.refusal(path, _WHAT)}")
    tag = f", it is '{keys['format']}'" if isinstance(keys.get("format"), str) else ""
    raise ArchitectureError(f"{path} has no list 'choices' with one candidate label a layer{tag}.")


def _no_table(path: Path, text: str) -> str:
    """A text as it is; ArchitectureError for one that begins as a CSV table does."""
    header = text.lstrip("\ufeff").strip().partition("\n")[0].lower()
    if "layer" in header and "candidate" in header:
        raise ArchitectureError(f"{path} is a CSV table, no architecture: give it as a table.")
    return text


def read_choices(text: str, table: LatencyTable) -> tuple[str, ...]:
    """One label a layer of a table, whose space need not be known: then names will not do.

    A text form has labels with commas in quotation marks, as reports print it; a file is as of
    `architecture_in`.
    """
    from ponas_deploy.tables.spaces import space_of

    space = space_of(table)
    if space is not None:
        return architecture_in(text, space).choices
    found: str | tuple[str, ...] = text
    if os.path.exists(text) and not os.path.isdir(text):
        found = _content_of_file(Path(text))
    choices = found if isinstance(found, tuple) else _labels_for(found, len(table.grid.layers))
    table.grid.indices(choices)
    return choices


def _labels_for(text: str, layers: int) -> tuple[str, ...]:
    """The labels of a text form of so many layers, apart by commas, or by bars or blanks where that fits."""
    rows = csv.reader(text.strip().splitlines(), skipinitialspace=True)
    by_commas = tuple(label.strip() for row in rows for label in row if label.strip())
    by_bars = tuple(label.strip() for label in re.split(r"[|,\n]", text) if label.strip())
    fitting = (found for found in (by_commas, by_bars, labels_in(text)) if len(found) == layers)
    return next(fitting, by_commas)


def agreed(what: str, asked: Found | None, given: Found | None, of: str = "weights are") -> Found | None:
    """What was asked for or what the weights (or what `of` names) say; PonasError where they differ."""
    if asked is not None and given is not None and asked != given:
        raise PonasError(f"--{what} {asked} was asked for, but the {of} for {given}.")
    return asked if given is None else given
