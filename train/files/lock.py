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

from ponas_deploy.errors import PonasError

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

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
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
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
    try:
        file = os.open(folder / NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _locked(file) else _read(file)
    finally:
        os.close(file)


def _taken(folder: Path) -> int:
    """The open, locked file."""
    for _ in range(_TRIES):
        file = _opened(folder)
        with suppress(OSError):
            if _locked(file) and os.fstat(file).st_ino == (folder / NAME).stat().st_ino:
                return file  # else: its last holder has just removed it
        other = _read(file)
        os.close(file)
        sleep(_PAUSE_S)
    raise PonasError(f"{folder} is being trained in by {other.text}: wait for it, or name another folder.")


def _opened(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise PonasError(f"{folder} cannot be written: {error.strerror}.") from error


def _locked(file: int) -> bool:
    """Lock a file; False when another process has."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return not isinstance(error, BlockingIOError)  # else: this disk knows no locks
    return True


def _read(file: int) -> Holder:
    try:
        os.lseek(file, 0, os.SEEK_SET)
        return Holder(**json.loads(os.read(file, 4096)))
    except (ValueError, TypeError):
        return Holder(0, "an unknown machine", "just now")  # it is writing its name
