"""From a name, a text form or a file to an architecture, in a space or on a table."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ponas_deploy.errors import FileFormatError, PonasError
from searchspace import (
    DEFAULT_SPACE,
    SPACES,
    Architecture,
    ArchitectureError,
    build_space,
    parse_architecture,
)
from searchspace.architecture import labels_in
from searchspace.mixed import is_int8, mixed_name, plain_label
from searchspace.spaces import is_known, published_space
from searchspace.zoo import published_network

if TYPE_CHECKING:
    from ponas_deploy.tables.latency import LatencyTable
    from searchspace.space import Space

Found = TypeVar("Found")

DEFAULT_RESOLUTION = 224


@dataclass(frozen=True, slots=True)
class Named:
    """The space that an architecture is of, and its resolution where it says one."""

    space: str
    resolution: int | None = None


def read_architecture(text: str, space: str | None, resolution: int | None, classes: int) -> Architecture:
    """An architecture from a name, a text form or a file, of the space that is asked for or that it names.

    Without a `resolution` (pixels) the file's, else the usual one; ArchitectureError where the file names
    another.
    """
    named = named_by(text, space)
    if resolution and named.resolution and resolution != named.resolution:
        asked = f"{resolution} px were asked for"
        raise ArchitectureError(f"{text} is at {named.resolution} px, and {asked}: take one of them.")
    size = resolution or named.resolution or usual_resolution(named.space)
    return architecture_in(text, build_space(named.space, size, classes))


def usual_resolution(space: str) -> int:
    """The resolution in pixels where nobody says one: that of a published network's figures, else 224."""
    network = published_network(space)
    return network.resolution if network else DEFAULT_RESOLUTION


def resolution_of(
    texts: Sequence[str], space: str | None, asked: Sequence[int] | None, of: str = "--resolution asks for"
) -> int | None:
    """The resolution in pixels that files of architectures say; None where none says one.

    ArchitectureError where they say several, or another than what is `asked` for, by what `of` names: None
    where nothing is, empty where it is left open.
    """
    said = {text: px for text in texts if (px := named_by(text, space).resolution)}
    first, *others = said.items() if said else [("", None)]
    for text, px in others:
        if px != first[1]:
            raise ArchitectureError(
                f"{first[0]} is at {first[1]} px, and {text} at {px} px: name networks of one resolution."
            )
    if first[1] and asked is not None and tuple(asked) != (first[1],):
        raise ArchitectureError(
            f"{first[0]} is at {first[1]} px, and {of} others: take what is for {first[1]} px, or networks"
            " that say no resolution."
        )
    return first[1]


def named_by(text: str, space: str | None = None) -> Named:
    """The space of a published name, a text form or a file: `space` where that is asked for.

    Else the one that a name or a file says, or that the labels are legal in: the default where they are in
    several, the one that knows most of them where they are in none. ArchitectureError for settings of
    Once-for-all without a space, which say no width, and for a file that holds no architecture.
    """
    from ponas_deploy.tables.ofa_files import authors_resolution, authors_space, is_authors

    if (path := _file(text)) is None:
        return Named(space or published_space(text) or space_of_labels(labels_in(text)))
    if _is_fix_subnet(path):
        return Named(space or _fix_subnet_space(path))
    content = _content_of_file(path)
    if isinstance(content, str):
        return Named(space or space_of_labels(labels_in(content)))
    if not is_authors(content):
        known = space or _space_in(content)
        return Named(known or space_of_labels(_labels_of_document(path, content)))
    with _as_architecture_error():
        return Named(space or authors_space(content, path), authors_resolution(content, path))


def space_of_labels(labels: Sequence[str]) -> str:
    """The space in which labels are a network; see `named_by` for those of several and of none."""
    if any(map(is_int8, labels)):
        return mixed_name(space_of_labels([plain_label(label) for label in labels]))

    def distance(name: str) -> tuple[bool, int, bool, bool]:
        space = build_space(name)
        known = {label for layer in space.labels for label in layer}
        unknown = sum(label not in known for label in labels)
        fits = len(space.layers) == len(labels)
        return not _is_network(labels, space), unknown, not fits, name != DEFAULT_SPACE

    return min(SPACES, key=distance)


def _is_network(labels: Sequence[str], space: Space) -> bool:
    try:
        Architecture(space, tuple(labels))
    except PonasError:
        return False
    return True


def _space_in(document: Mapping[str, Any]) -> str | None:
    """The known space that a description or a manifest is of."""
    given = document.get("space")
    name = given.get("name") if isinstance(given, dict) else given
    return name if isinstance(name, str) and is_known(name) else None


def architecture_in(text: str, space: Space) -> Architecture:
    """An architecture of a space: a published name, a text form, or the path of a file that holds either.

    The file is text, JSON with a list `choices` (a manifest has one), what the authors of Once-for-all write
    (`ofa_files.py`), or MMRazor's YAML (`fix_subnet.py`). ArchitectureError or UnknownNameError say what is
    wrong with it.
    """
    if (path := _file(text)) is not None:
        return Architecture(space, _labels_of_file(path, space))
    if published_space(text) or not os.path.isdir(text):
        return parse_architecture(text, space)
    try:
        return parse_architecture(text, space)
    except PonasError as error:
        raise ArchitectureError(f"{text} is a folder, no architecture: name a file in it.") from error


def _file(text: str) -> Path | None:
    """The file of that name; None for a published name, and where there is no such file."""
    is_file = not published_space(text) and os.path.exists(text) and not os.path.isdir(text)
    return Path(text) if is_file else None


def _labels_of_file(path: Path, space: Space) -> tuple[str, ...]:
    from ponas_deploy.tables.fix_subnet import labels_of
    from ponas_deploy.tables.ofa_files import authors_labels, is_authors

    if _is_fix_subnet(path):
        with _as_architecture_error():
            return labels_of(path, space)
    content = _content_of_file(path)
    if isinstance(content, str):
        return labels_in(content)
    if not is_authors(content):
        return _labels_of_document(path, content)
    with _as_architecture_error():
        return authors_labels(content, path, space)


def _is_fix_subnet(path: Path) -> bool:
    from ponas_deploy.files.kinds import FIX_SUBNET, other_kind

    with suppress(FileFormatError):  # whoever reads it next says it
        return other_kind(path) is FIX_SUBNET
    return False


def _fix_subnet_space(path: Path) -> str:
    from ponas_deploy.tables.fix_subnet import chosen_labels, space_of_labels

    with _as_architecture_error():
        return space_of_labels(chosen_labels(path))


@contextmanager
def _as_architecture_error() -> Iterator[None]:
    """ArchitectureError says what FileFormatError says: the file was given as an architecture."""
    try:
        yield
    except FileFormatError as error:
        raise ArchitectureError(str(error)) from error


def _content_of_file(path: Path) -> str | Mapping[str, Any]:
    """The text of a file, or the JSON object that it holds; a list is that of the labels."""
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
    return document if isinstance(document, dict) else {"choices": document}


_WHAT = "architecture"


def _labels_of_document(path: Path, keys: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels that a JSON object lists; ArchitectureError says what else it is."""
    from ponas_deploy.files.kinds import other_document

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
    from ponas_deploy.tables.depth import depth_fault
    from ponas_deploy.tables.ofa_files import is_authors
    from ponas_deploy.tables.spaces import ruling_space, space_of

    space = space_of(table)
    if space is not None:
        return architecture_in(text, space).choices
    path, layers = Path(text), len(table.grid.layers)
    is_file = os.path.exists(text) and not os.path.isdir(text)
    if is_file and _is_fix_subnet(path):
        raise ArchitectureError(f"{path} is a network of SPOS, and the table is of none of its spaces.")
    content = _content_of_file(path) if is_file else text
    if not isinstance(content, str) and is_authors(content):
        raise ArchitectureError(
            f"{path} is a network of once-for-all, and the table is of none of its spaces."
        )
    choices = _labels_for(content, layers) if isinstance(content, str) else _labels_of_document(path, content)
    table.grid.indices(choices)
    if fault := depth_fault(table.grid, ruling_space(table), choices):
        raise ArchitectureError(fault.text)
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
