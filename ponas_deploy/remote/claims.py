"""Which jobs on boards this user's own processes have: a file a job, locked as long as its process lives.

A process that is killed leaves a worker on the board, which waits for it. Whoever comes next from the same
store sees by the file that the job was its own, and by the lock that nobody has it any more, and ends it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ponas_deploy.files.home import home
from ponas_deploy.files.lock import is_left, lock
from ponas_deploy.files.opening import make_folder

_MOST = 100
"""Files of processes that were killed, whose boards nobody came back to."""


@contextmanager
def claimed(job: str) -> Iterator[None]:
    """The job is this process's own meanwhile; where no file can be written nobody will know of it."""
    path, file, ours = _path(job), -1, False
    try:
        with suppress(OSError):
            make_folder(path.parent)
            _remove_old(path.parent)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            ours = lock(file)
        yield
    finally:
        if ours:
            path.unlink(missing_ok=True)
        if file >= 0:
            os.close(file)


def was_ours(job: str) -> bool:
    """Whether a process of this user had the job that is there no longer."""
    return bool(re.fullmatch("[0-9a-f]{16}", job)) and is_left(_path(job))


def forget(job: str) -> None:
    """It was ended: its file goes."""
    _path(job).unlink(missing_ok=True)


def _path(job: str) -> Path:
    return home() / "jobs" / f"{job}.lock"


def _remove_old(folder: Path) -> None:
    """Remove the oldest of those that were left."""
    found = sorted(folder.glob("*.lock"), key=lambda path: path.stat().st_mtime)
    for path in found[:-_MOST]:
        if is_left(path):
            path.unlink()
