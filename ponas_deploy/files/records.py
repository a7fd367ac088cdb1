"""Reading and writing the project's files: one atomic writer, one reader that says where it hurts.

A document's first key is its format with a version, `ponas.latency-table/1`. A reader accepts every
older version; a newer one is an error that says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ponas_deploy.errors import FileFormatError, OverwriteError, PonasError
from ponas_deploy.files.opening import check_regular

Found = TypeVar("Found")


def write_bytes(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file whole or not at all: a temporary file beside it, flushed, then renamed over.

    Raises OverwriteError, or PonasError when the disk refuses (full, read-only); then nothing
    of the new file is left and an old one is untouched.
    """
    if path.exists() and not overwrite:
        raise OverwriteError(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
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


def to_json(document: Any, indent: str = "") -> str:
    """Readable JSON without NaN or infinity: one key a line, lists of plain values on one line."""
    if isinstance(document, Mapping) and document:
        pairs = (f"{json.dumps(str(key))}: {to_json(value, indent + ' ')}" for key, value in document.items())
        return _lines("{", pairs, "}", indent)
    if isinstance(document, (list, tuple)) and any(isinstance(v, (Mapping, list, tuple)) for v in document):
        return _lines("[", (to_json(value, indent + " ") for value in document), "]", indent)
    return json.dumps(document, allow_nan=False, ensure_ascii=False)


def _lines(start: str, parts: Iterable[str], end: str, indent: str) -> str:
    separator = f",\n{indent} "
    return f"{start}\n{indent} {separator.join(parts)}\n{indent}{end}"


def read_json(path: Path, *kinds: str) -> Record:
    """Read a document of one of the formats `kinds`; FileFormatError names the file and the place."""
    record = Record(path, "", _parsed(path))
    found, _, version = record.text("format").partition("/")
    newest = dict(kind.split("/") for kind in kinds)
    if found not in newest or re.fullmatch("[0-9]{1,9}", version) is None:
        expected = " or ".join(f"'{kind}'" for kind in kinds)
        raise FileFormatError(path, "format", f"is {in_words(record.text('format'))}, expected {expected}.")
    if int(version) > int(newest[found]):
        raise FileFormatError(
            path,
            "format",
            f"is version {version}, this program reads up to {newest[found]}: upgrade ponas-deploy.",
        )
    return record


def _parsed(path: Path) -> Any:
    from ponas_deploy.files.documents import parse_loosely
    from ponas_deploy.files.opening import read_text

    return parse_loosely(read_text(path), path)[0]


class Faults:
    """The faults of one file, in the order they were met.

    A reader that is given one goes on behind a fault with what is left. Who needs a whole file calls
    `refuse`, who wants to know them all reads `found`: there is one reader for both.
    """

    def __init__(self) -> None:
        self.found: list[FileFormatError] = []

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
        """Raise the first fault, where there is one."""
        if self.found:
            raise self.found[0]


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


@dataclass(frozen=True, slots=True)
class Record:
    """A JSON object that knows where it stands, so that an error can name the file and the key."""

    path: Path
    where: str
    data: Any

    def __post_init__(self) -> None:
        if not isinstance(self.data, dict):
            raise self.error("", f"is {in_words(self.data)}, expected an object.")

    def __contains__(self, key: str) -> bool:
        return self.data.get(key) is not None

    def error(self, key: str, reason: str) -> FileFormatError:
        """An error at `key` of this record."""
        return FileFormatError(self.path, ".".join(part for part in (self.where, key) if part), reason)

    def text(self, key: str) -> str:
        """The string at `key`."""
        value = self._value(key)
        if not isinstance(value, str):
            raise self.error(key, f"is {in_words(value)}, expected text.")
        return value

    def integer(self, key: str, least: int | None = None) -> int:
        """The whole number at `key`, `least` or more."""
        value = self._value(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(key, f"is {in_words(value)}, expected a whole number.")
        if least is not None and value < least:
            raise self.error(key, f"is {in_words(value)}, expected {least} or more.")
        return value

    def number(self, key: str) -> float:
        """The finite number at `key`."""
        value = self._value(key)
        if not is_number(value):
            raise self.error(key, f"is {in_words(value)}, expected a finite number.")
        return float(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """The list of finite numbers at `key`."""
        values = self._list(key)
        wrong = [value for value in values if not is_number(value)]
        if wrong:
            raise self.error(key, f"holds {in_words(wrong[0])}, expected finite numbers.")
        return tuple(values)

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of strings at `key`."""
        values = self._list(key)
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, "holds something that is not text.")
        return tuple(values)

    def record(self, key: str) -> Record:
        """The object at `key`."""
        return Record(self.path, self._below(key), self._value(key))

    def records(self, key: str, faults: Faults | None = None) -> Iterator[Record]:
        """The objects in the list at `key`; with `faults`, what is no object is noted there and left out."""
        items = self._list(key) if faults is None else faults.attempt(lambda: self._list(key), [])
        for index, value in enumerate(items):
            where = f"{self._below(key)}[{index}]"
            if faults is None or isinstance(value, dict):
                yield Record(self.path, where, value)
            else:
                faults.add(FileFormatError(self.path, where, f"is {in_words(value)}, expected an object."))

    def optional(self, key: str, read: Callable[[Record], Found], faults: Faults) -> Found | None:
        """What `read` makes of the object at `key`; None where there is none, or a fault in it."""
        return faults.attempt(lambda: read(self.record(key)), None) if key in self else None

    def strings(self, key: str) -> tuple[tuple[str, str], ...]:
        """The object at `key` as pairs of text."""
        return tuple((name, str(value)) for name, value in self.record(key).data.items())

    def _below(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def _value(self, key: str) -> Any:
        if key not in self.data:
            raise self.error(key, "is missing.")
        return self.data[key]

    def _list(self, key: str) -> list[Any]:
        value = self._value(key)
        if not isinstance(value, list):
            raise self.error(key, f"is {in_words(value)}, expected a list.")
        return value
