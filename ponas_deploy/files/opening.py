"""One function that opens a file which somebody else may have written: a regular file of a bounded size.

A FIFO would be waited for, a device would fill the memory, a folder would be a traceback: all of them are one
sentence here.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from ponas_deploy.errors import FileFormatError

MIB = 1 << 20
MOST_BYTES = 256 * MIB
"""A document of ours; the largest tables that were made have a few MiB."""
MOST_JOURNAL_BYTES = 1024 * MIB
MOST_CSV_BYTES = 1024 * MIB
MOST_LOCK_BYTES = 64 << 10

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular(path: Path, most_bytes: int | None = None) -> None:
    """FileFormatError for what is no regular file of at most `most_bytes`, without opening it."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    size = _size(path, found)
    if most_bytes is not None:
        _check_size(path, size, most_bytes)


def _check_size(path: Path, size: int, most_bytes: int) -> None:
    if size > most_bytes:
        reason = f"has {size / MIB:.1f} MiB, more than the {most_bytes / MIB:g} MiB that are read of it."
        raise FileFormatError(path, "", reason)


def read_bytes(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """What a regular file of at most `most_bytes` holds; FileFormatError says why it cannot be read."""
    check_regular(path, most_bytes)
    try:
        with open(os.open(path, os.O_RDONLY | _NO_WAIT), "rb") as file:
            size = _size(path, os.fstat(file.fileno()))
            _check_size(path, size, most_bytes)
            return file.read(size)  # not up to the bound: Python would take that much memory first
    except OSError as error:
        raise _unreadable(path, error) from error


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The same as text: UTF-8, with or without a byte order mark."""
    data = read_bytes(path, most_bytes)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileFormatError(path, f"byte {error.start}", "is not text.") from error


def first_line(path: Path) -> str:
    """The first line that is not blank among the first 4 KiB of a file; empty where that is no text."""
    check_regular(path)
    with suppress(OSError), open(os.open(path, os.O_RDONLY | _NO_WAIT), "rb") as file:
        text = file.read(_FIRST_BYTES).decode("utf-8-sig", "replace")
        return next((line.strip() for line in text.splitlines() if line.strip()), "")
    return ""


_FIRST_BYTES = 4096
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def _size(path: Path, found: os.stat_result) -> int:
    if not stat.S_ISREG(found.st_mode):
        kind = next((words for is_kind, words in _KINDS if is_kind(found.st_mode)), "no regular file")
        raise FileFormatError(path, "", f"cannot be read: it is {kind}, expected a regular file.")
    return found.st_size


def _unreadable(path: Path, error: OSError | ValueError) -> FileFormatError:
    if isinstance(error, FileNotFoundError):
        return FileFormatError(path, "", "there is no such file.")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return FileFormatError(path, "", f"cannot be read: {reason}.")
