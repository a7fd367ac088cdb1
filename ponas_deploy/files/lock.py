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
from datetime import datetime, timezone
from pathlib import Path

from ponas_deploy.errors import MeasurementError

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

_TICK_S = 0.2


def lock(file: int) -> bool:
    """Lock an open file until it is closed; False when somebody else has it."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return not isinstance(error, BlockingIOError)  # else: this disk knows no locks
    return True


@contextmanager
def machine_to_oneself(path: Path, what: str, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the lock at `path` while this machine is measured, `what` for.

    MeasurementError names the process that measures already, since when, and what, after `patience_s` seconds
    of waiting for it.
    """
    deadline = time.monotonic() + patience_s
    file = -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        _take(file, what, deadline)
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


def _take(file: int, what: str, deadline: float) -> None:
    while not (taken := lock(file)) and time.monotonic() < deadline:
        time.sleep(_TICK_S)
    if not taken:
        raise MeasurementError(
            f"this machine is being measured already, {_holder(file)}: wait for it or stop it,"
            " two at once spoil both."
        )
    since = datetime.now(timezone.utc).isoformat(sep=" ", timespec="seconds")
    os.ftruncate(file, 0)
    os.write(file, json.dumps({"pid": os.getpid(), "since": since, "what": what}).encode())


def _holder(file: int) -> str:
    try:
        found = json.loads(os.read(file, 4096))
        return f"by process {found['pid']} since {found['since']} ({found['what']})"
    except (ValueError, KeyError, TypeError):  # it has not signed yet
        return "by a process that started just now"
