"""One at a time: a lock on a file that names its holder.

The lock is the system's own (flock): it ends with the process that holds it, however that ends, so a file
that a dead process left behind holds nobody up. What the file says is for people. Where there are no such
locks (Windows, some network disks) nothing is locked.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from ponas_deploy.errors import FileFormatError, MeasurementError, printable
from ponas_deploy.files.opening import MOST_LOCK_BYTES, check_regular, make_folder

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

_TICK_S = 0.2


def locks() -> bool:
    """Whether this system has such locks."""
    return fcntl is not None


def lock(file: int) -> bool:
    """Lock an open file until it is closed; False when somebody else has it."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return not isinstance(error, BlockingIOError)  # else: this disk knows no locks
    return True


def is_left(path: Path) -> bool:
    """Whether a file was locked by a process that is gone; False where that cannot be told."""
    if fcntl is None:
        return False
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: the process, since when, and what for."""

    pid: int
    since: str
    what: str


@contextmanager
def machine_to_oneself(path: Path, what: str, timeout_s: float = 0.0) -> Iterator[None]:
    """Hold the lock at `path` while this machine is measured, `what` for.

    MeasurementError names the process that measures already, since when, and what, after `timeout_s` seconds
    of waiting for it.
    """
    deadline = time.monotonic() + timeout_s
    file = -1
    try:
        make_folder(path.parent)
        if path.exists():
            check_regular(path)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        _take(file, path, what, deadline)
    except OSError as error:
        raise MeasurementError(
            f"{path} cannot be written ({error.strerror}): make room, or set PONAS_HOME to another folder."
        ) from error
    else:
        yield
        os.ftruncate(file, 0)
    finally:
        if file >= 0:
            os.close(file)


def _take(file: int, path: Path, what: str, deadline: float) -> None:
    while not (taken := lock(file)) and time.monotonic() < deadline:
        time.sleep(_TICK_S)
    if not taken:
        raise MeasurementError(
            f"this machine is being measured already, {_holder(file, path)}: wait for it or stop it,"
            " two at once spoil both."
        )
    since = datetime.now(timezone.utc).isoformat(sep=" ", timespec="seconds")
    os.ftruncate(file, 0)
    os.write(file, json.dumps(asdict(Holder(os.getpid(), since, what))).encode())


def _holder(file: int, path: Path) -> str:
    from ponas_deploy.files.documents import converted, parse

    try:
        text = os.read(file, MOST_LOCK_BYTES).decode()
        holder = converted(parse(text, path), Holder, path)
    except (UnicodeDecodeError, FileFormatError):  # it has not signed yet
        return "by a process that started just now"
    return printable(f"by process {holder.pid} since {holder.since} ({holder.what})")
