"""One function that opens a file which somebody else may have written: a regular file of a bounded size.

A FIFO would be waited for, a device would fill the memory, a folder would be a traceback: all of them are one
sentence here. Where a name to write leads is said here too: links are followed, as any tool does.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ponas_deploy.errors import FileFormatError, OverwriteError, PonasError

MIB = 1 << 20
MOST_BYTES = 256 * MIB
"""A document of ours; the largest tables that were made have a few MiB."""
MOST_JOURNAL_BYTES = 1024 * MIB
MOST_CSV_BYTES = 1024 * MIB
MOST_LOCK_BYTES = 64 << 10
HEAD_BYTES = 4096
"""What is read of a file to tell what it is."""

_SAVE = "save what comes from it as a file, and name that"
_KINDS = (
    (stat.S_ISDIR, "a folder", "name a file in it"),
    (stat.S_ISFIFO, "a pipe", _SAVE),
    (stat.S_ISSOCK, "a socket", _SAVE),
    (stat.S_ISCHR, "a device", _SAVE),
    (stat.S_ISBLK, "a device", _SAVE),
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


def read_head(path: Path, count: int) -> bytes:
    """The first bytes of a regular file, at most `count`; FileFormatError says why it cannot be read."""
    check_regular(path)
    try:
        with open(os.open(path, os.O_RDONLY | _NO_WAIT), "rb") as file:
            return file.read(count)
    except OSError as error:
        raise _unreadable(path, error) from error


def first_line(path: Path) -> str:
    """The first line that is not blank among the first 4 KiB of a file; empty where that is no text."""
    text = read_head(path, HEAD_BYTES).decode("utf-8-sig", "replace")
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def place_of(path: Path) -> Path:
    """Where a name leads: links are followed, to what is not there yet too; PonasError for a circle."""
    place = Path(os.path.realpath(path))
    if place.is_symlink():
        raise PonasError(f"{path} cannot be written: its links lead in a circle.")
    return place


def make_folder(folder: Path) -> None:
    """Make a folder, and those around it, where it is missing; OSError where that cannot be."""
    try:
        place_of(folder).mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def refuse_file(path: Path, *, overwrite: bool) -> None:
    """Say before anything is done that no file can be written at `path`.

    OverwriteError when one is there and that was not asked for; PonasError for what is no regular file (a
    folder, a device), which is never written over.
    """
    place = place_of(path)
    if not place.exists():
        return
    mode = os.stat(place).st_mode
    if not stat.S_ISREG(mode):
        raise PonasError(f"{path} cannot be written: it is {_kind(mode)[0]}, name a file.")
    if not overwrite:
        raise OverwriteError(path)


_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def _size(path: Path, found: os.stat_result) -> int:
    if not stat.S_ISREG(found.st_mode):
        kind, advice = _kind(found.st_mode)
        raise FileFormatError(path, "", f"cannot be read: it is {kind}, expected a regular file: {advice}.")
    return found.st_size


def _kind(mode: int) -> tuple[str, str]:
    """What is no regular file, in words, and what to name in its place."""
    kinds = ((words, advice) for is_kind, words, advice in _KINDS if is_kind(mode))
    return next(kinds, ("something else", "name one"))


def _unreadable(path: Path, error: OSError | ValueError) -> FileFormatError:
    if isinstance(error, FileNotFoundError):
        return FileFormatError(path, "", "there is no such file.")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return FileFormatError(path, "", f"cannot be read: {reason}.")
