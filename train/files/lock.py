"""One process a run folder: who works there, and a refusal for the next one. No torch.

The lock is the system's own (flock), so that it ends with the process that holds it, however it ends;
what the file says is for people. Where there is none (Windows, some network disks) nothing is locked.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import sleep

from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.documents import converted, parse
from ponas_deploy.files.lock import lock
from ponas_deploy.files.opening import MOST_LOCK_BYTES, check_regular, make_folder, place_of

NAME = "run.lock"
_TRIES, _PAUSE_S = 5, 0.1  # `holder` takes the lock for a moment too
_HELD: set[int] = set()


def _forget_in_children() -> None:
    for file in _HELD:
        os.close(file)
    _HELD.clear()


if hasattr(os, "register_at_fork"):  # a process that decodes images must not keep its dead parent's lock
    os.register_at_fork(after_in_child=_forget_in_children)


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that trains in a folder."""

    pid: int
    host: str
    since: str

    @property
    def text(self) -> str:
        """The process, for people."""
        return f"process {self.pid} on {self.host} since {self.since}"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep others out of `folder`, which is made where it is missing, and gone again if nothing was put in.

    PonasError names the process that is there already; what a killed process left does not count.
    """
    try:
        place = place_of(folder)
        missing = [path for path in (place, *place.parents) if not path.exists()]
    except OSError as error:
        raise PonasError(f"{folder} cannot be written: {error.strerror}.") from error
    file = _taken(folder)
    _HELD.add(file)
    try:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        os.ftruncate(file, 0)
        os.write(file, json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), now))).encode())
        yield
    finally:
        _HELD.discard(file)
        with suppress(OSError):
            (folder / NAME).unlink()
        os.close(file)
        with suppress(OSError):  # not empty
            for path in missing:
                path.rmdir()


def holder(folder: Path) -> Holder | None:
    """The process that trains in `folder` now; None where none does."""
    path = folder / NAME
    if not path.exists():
        return None
    check_regular(path)
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if lock(file) else _read(file, path)
    finally:
        os.close(file)


def _taken(folder: Path) -> int:
    """The open, locked file."""
    path = folder / NAME
    for _ in range(_TRIES):
        file = _opened(path)
        with suppress(OSError):
            if lock(file) and os.fstat(file).st_ino == path.stat().st_ino:
                return file  # else: its last holder has just removed it
        other = _read(file, path)
        os.close(file)
        sleep(_PAUSE_S)
    raise PonasError(f"{folder} is being trained in by {other.text}: wait for it, or name another folder.")


def _opened(path: Path) -> int:
    try:
        make_folder(path.parent)
        if path.exists():
            check_regular(path)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise PonasError(f"{path.parent} cannot be written: {error.strerror}.") from error


def _read(file: int, path: Path) -> Holder:
    try:
        os.lseek(file, 0, os.SEEK_SET)
        text = os.read(file, MOST_LOCK_BYTES).decode()
        return converted(parse(text, path), Holder, path)
    except (FileFormatError, UnicodeDecodeError):
        return Holder(0, "an unknown machine", "just now")  # it is writing its name
