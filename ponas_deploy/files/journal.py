"""The journal of a measurement: one JSON line a finished sample, so that a kill loses only the last.

The first line is a header that says what is measured. A journal whose header differs is set aside
under another name and never mixed in; a last line cut short by a kill is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ponas_deploy.errors import FileFormatError, MeasurementError
from ponas_deploy.files.documents import converted, parse
from ponas_deploy.files.lock import lock
from ponas_deploy.files.opening import MOST_JOURNAL_BYTES, check_regular, make_folder

Value = TypeVar("Value")

FORMAT = "ponas.journal/1"


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of a journal, and where it stands."""

    path: Path
    number: int
    data: dict[str, Any]

    def read(self, kind: type[Value]) -> Value:
        """The entry as a value of a type; FileFormatError names the line and the key that does not fit."""
        return converted(self.data, kind, self.path, f"line {self.number}")


class Journal:
    """An open journal: what it held (`entries`), and a place to append. A context manager.

    `note` says what was found: a journal continued, or one set aside; empty for a new one. Of the objects
    `where_said` in the header only what both the header there and this one say is compared.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], where_said: Sequence[str] = ()) -> None:
        self.path, self.note = path, ""
        self.lines: tuple[Line, ...] = ()
        wanted = json.loads(json.dumps({"format": FORMAT, **header}))
        self._file = _open(path)
        try:
            self._take_up(wanted, where_said)
        except BaseException:
            os.close(self._file)
            raise

    @property
    def entries(self) -> tuple[dict[str, Any], ...]:
        """What the journal held when it was opened, without its header."""
        return tuple(line.data for line in self.lines)

    @staticmethod
    def text(header: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> str:
        """What a journal that holds these entries looks like."""
        return "".join(map(_line, ({"format": FORMAT, **header}, *entries)))

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add a line; it survives the end of this process, however it ends."""
        line = _line(entry).encode()
        with self._kept_when_full():
            written = os.write(self._file, line)
            if written < len(line):
                os.write(self._file, line[written:])

    def sync(self) -> None:
        """Bring what was appended to the disk, so that it survives a power cut too."""
        with self._kept_when_full():
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file; it stays where it is."""
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _kept_when_full(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MeasurementError(
                f"{self.path} cannot be written ({error.strerror}): what was measured before is kept in it;"
                " make room and start again to go on from there."
            ) from error

    def _take_up(self, wanted: dict[str, Any], where_said: Sequence[str]) -> None:
        _lock(self._file, self.path)
        lines = _whole_lines(self._file)
        entries = [_entry(self.path, number, line) for number, line in enumerate(lines, start=1)]
        if entries and (differs := difference(entries[0].data, wanted, where_said)):
            aside = _free_name(self.path)
            os.replace(self.path, aside)
            os.close(self._file)
            self._file = _open(self.path)
            _lock(self._file, self.path)
            self.note = f"{self.path} is of another measurement ({differs}): kept as {aside}"
            entries = []
        if entries:
            self.lines = tuple(entries[1:])
            os.ftruncate(self._file, sum(len(line) + 1 for line in lines))
            self.note = f"continuing {self.path} ({len(self.lines)} entries)"
        else:
            os.ftruncate(self._file, 0)
            self.append(wanted)


def _open(path: Path) -> int:
    try:
        make_folder(path.parent)
        if path.exists():
            check_regular(path, MOST_JOURNAL_BYTES)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise MeasurementError(f"{path} cannot be written: {error.strerror}.") from error
    except FileFormatError as error:
        raise MeasurementError(f"{path} cannot be written as a journal: it {error.reason}") from error


def _lock(file: int, path: Path) -> None:
    if not lock(file):
        raise MeasurementError(
            f"{path} is being written by another command: wait for it, two at once spoil both."
        )


def _line(entry: Mapping[str, Any]) -> str:
    return f"{json.dumps(entry, allow_nan=False)}\n"


def _whole_lines(file: int) -> list[bytes]:
    """The lines that end; what a kill cut short is left out."""
    data = bytearray()
    while chunk := os.pread(file, 1 << 20, len(data)):
        data += chunk
    return bytes(data).split(b"\n")[:-1]


def _entry(path: Path, number: int, line: bytes) -> Line:
    where = f"line {number}"
    try:
        entry = parse(line.decode(), path, where)
    except (UnicodeDecodeError, FileFormatError) as error:
        raise FileFormatError(path, where, "is not JSON: move the file away to start again.") from error
    if not isinstance(entry, dict):
        raise FileFormatError(path, where, "is no entry: move the file away to start again.")
    return Line(path, number, entry)


def _free_name(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.old-{number}")).exists():
        number += 1
    return aside


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any], where_said: Sequence[str] = ()) -> str:
    """The first value in which two headers differ, in words; empty where they are the same.

    Of the objects `where_said` what one of the two does not say is not compared.
    """
    return _first_difference(_filled(found, wanted, where_said), _filled(wanted, found, where_said))


def _filled(header: Mapping[str, Any], other: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A header with what its objects of these names lack and those of the other one say."""
    filled = dict(header)
    for name in names:
        mine, theirs = header.get(name, {}), other.get(name, {})
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            filled[name] = {**theirs, **mine}
    return filled


def _first_difference(found: Mapping[str, Any], wanted: Mapping[str, Any], where: str = "") -> str:
    for key in (*wanted, *(key for key in found if key not in wanted)):
        mine, theirs = wanted.get(key), found.get(key)
        if mine == theirs and (key in wanted) == (key in found):
            continue
        if isinstance(mine, dict) and isinstance(theirs, dict):
            return _first_difference(theirs, mine, f"{where}{key} ")
        return f"{where}{key} {theirs} there, {mine} here"
    return ""
