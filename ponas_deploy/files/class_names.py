"""Names of classes in the order of a network's outputs: as weights, manifests and ONNX models hold them.

Names come from folders and from other people's files: they are bounded, each is there once, and what is
printed of them cannot command a terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

from msgspec import Meta

from ponas_deploy.errors import FileFormatError, printable
from ponas_deploy.files.documents import converted, parse
from ponas_deploy.files.records import to_json

MOST_NAMES, MOST_CHARACTERS = 100_000, 1024
_SHOWN = 3

ClassName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MOST_CHARACTERS)]
ClassNames: TypeAlias = Annotated[tuple[ClassName, ...], Meta(max_length=MOST_NAMES)]

KEY = "class_names"
"""Where a header, a manifest and an ONNX model hold them."""


def usable(names: Sequence[str]) -> tuple[str, ...]:
    """The names, or none where a file could not hold them: too many, too long, or one of them twice."""
    fit = len(names) <= MOST_NAMES and all(1 <= len(name) <= MOST_CHARACTERS for name in names)
    return tuple(names) if fit and len(set(names)) == len(names) else ()


def written(names: Sequence[str]) -> str:
    """Names as one text, a JSON list: what headers hold."""
    return to_json(list(names))


def read(text: str, path: Path) -> tuple[str, ...]:
    """The names that `written` wrote, from the header of `path`; FileFormatError for anything else."""
    return converted(parse(text, path, KEY), ClassNames, path, KEY)


def checked(names: tuple[str, ...], classes: int | None, path: Path) -> tuple[str, ...]:
    """The names; FileFormatError where one is there twice, or they are not as many as `classes`."""
    if names and classes not in (None, len(names)):
        raise FileFormatError(path, KEY, f"holds {len(names)} names of {classes} classes.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise FileFormatError(path, KEY, f"holds {listed(twice)} more than once.")
    return names


def listed(names: Sequence[str]) -> str:
    """Some names for people: `class 'a'`, `5 classes 'a', 'b', 'c' and 2 more`."""
    shown = ", ".join(f"'{_short(name)}'" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"class {shown}" if len(names) == 1 else f"{len(names)} classes {shown}{more}"


def difference(ours: Sequence[str], theirs: Sequence[str], us: str, them: str) -> str:
    """`only US has class 'a' and only THEM has class 'b'`; empty for the same names in any order."""
    only = ((us, sorted(set(ours) - set(theirs))), (them, sorted(set(theirs) - set(ours))))
    return " and ".join(f"only {who} has {listed(names)}" for who, names in only if names)


def _short(name: str) -> str:
    text = printable(name)
    return text if len(text) <= 60 else f"{text[:40]}...{text[-15:]}"
