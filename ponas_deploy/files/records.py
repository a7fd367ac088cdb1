"""Writing the project's files, whole or not at all; and what readers of files share."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.findings import Finding
from ponas_deploy.files.opening import check_regular, make_folder, place_of, refuse_file

Found = TypeVar("Found")
_NAMED = 4
"""Faults behind the first one that an error names."""


def write_bytes(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file whole or not at all: a temporary file beside it, flushed, then renamed over.

    A link is followed: the file is written where it leads. Raises OverwriteError, or PonasError when the disk
    refuses (full, read-only) or something else than a file is there; then nothing of the new file is left and
    an old one is untouched.
    """
    refuse_file(path, overwrite=overwrite)
    place, temporary = place_of(path), None
    try:
        make_folder(place.parent)
        handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, place)
    except OSError as error:
        raise PonasError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def write_json(path: Path, kind: str, document: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Write `document` as the format `kind` ("ponas.latency-table/1"), see `write_bytes`."""
    text = to_json({"format": kind, **document})
    write_bytes(path, f"{text}\n".encode("utf-8", "replace"), overwrite=overwrite)


_HOLDERS = (Mapping, list, tuple)
_plain_json = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode


def to_json(document: Any, indent: str = "") -> str:
    """Readable JSON without NaN or infinity: one key a line, lists of plain values on one line."""
    if isinstance(document, Mapping) and document:
        pairs = (f"{json.dumps(str(key))}: {to_json(value, indent + ' ')}" for key, value in document.items())
        return _lines("{", pairs, "}", indent)
    if isinstance(document, (list, tuple)) and any(
        issubclass(kind, _HOLDERS) for kind in set(map(type, document))
    ):
        return _lines("[", (to_json(value, indent + " ") for value in document), "]", indent)
    return _plain_json(document)


def _lines(start: str, parts: Iterable[str], end: str, indent: str) -> str:
    separator = f",\n{indent} "
    return f"{start}\n{indent} {separator.join(parts)}\n{indent}{end}"


class Faults:
    """The faults of one file, in the order they were met.

    A reader that is given one goes on behind a fault with what is left. Who needs a whole file calls
    `refuse`, who wants to know them all reads `found`: there is one reader for both.
    """

    def __init__(self) -> None:
        self.found: list[FileFormatError] = []
        self.notes: list[Finding] = []

    def note(self, where: str, message: str) -> None:
        """What a person should know about a file that can be read all the same."""
        self.notes.append(Finding("note", where, message))

    def add(self, fault: FileFormatError) -> None:
        """Note a fault."""
        self.found.append(fault)

    def attempt(self, read: Callable[[], Found], otherwise: Found) -> Found:
        """What `read` returns, or `otherwise` and a fault more."""
        try:
            return read()
        except FileFormatError as fault:
            self.add(fault)
            return otherwise

    def refuse(self) -> None:
        """Raise the first fault, where there is one; its reason names those behind it."""
        if len(self.found) < 2:
            for fault in self.found:
                raise fault
            return
        first, *others = self.found
        named = "; ".join(f"{one.where or 'the file'}: {one.reason.rstrip('.')}" for one in others[:_NAMED])
        more = f"; and {len(others) - _NAMED} more faults" if len(others) > _NAMED else ""
        reason = f"{first.reason} Also {named}{more} (`ponas table check` lists them)."
        raise FileFormatError(first.path, first.where, reason)


def sha256(path: Path) -> str:
    """The SHA-256 of a regular file, in hex; FileFormatError for anything else."""
    check_regular(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_number(value: object) -> bool:
    """Whether a value from a file is a finite number; True and numbers too large for a float are not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max


_SHOWN = 60
"""Characters of a value that an error shows."""


def in_words(value: object) -> str:
    """A value from a JSON file for an error text: null, true, a list, an object, or the value, shortened."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}...{text[-_SHOWN // 4 :]}"
