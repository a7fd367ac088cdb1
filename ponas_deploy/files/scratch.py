"""Temporary folders whose owner can be told: those of a process that was killed go with the next one made.

The owner holds a lock on the folder itself, which ends with the process. Where there are no such locks
(Windows, some network disks) nothing of another process is removed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ponas_deploy.files.lock import lock, locks

_MARK = "ponas-scratch-"
_YOUNG_S = 60.0
"""A folder this young may have an owner that is about to lock it."""


if TYPE_CHECKING:
    _Folder = tempfile.TemporaryDirectory[str]
else:  # Python 3.8 evaluates it
    _Folder = tempfile.TemporaryDirectory
_CLEANUP: dict[str, Any] = {"ignore_cleanup_errors": True} if sys.version_info >= (3, 10) else {}


class Scratch(_Folder):
    """A temporary folder in `parent`, or where the system has them; a context manager.

    `prefix` is what its name begins with. OSError where it cannot be made.
    """

    def __init__(self, parent: Path | None = None, prefix: str = "") -> None:
        remove_abandoned(parent or Path(tempfile.gettempdir()))
        with _signals_held_back():
            super().__init__(prefix=f"{prefix}{_MARK}", dir=parent, **_CLEANUP)
            self._held = _locked(Path(self.name))

    def cleanup(self) -> None:
        """Remove the folder; what cannot be removed stays."""
        with suppress(OSError):
            super().cleanup()
        if self._held is not None:
            os.close(self._held)
            self._held = None


def remove_abandoned(parent: Path) -> None:
    """Remove the temporary folders in `parent` whose owner is gone; what cannot be removed stays."""
    if not locks():
        return
    for folder in parent.glob(f"*{_MARK}*"):
        with suppress(OSError):
            if folder.is_symlink() or time.time() - folder.stat().st_mtime < _YOUNG_S:
                continue
            held = _locked(folder)
            if held is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Signals that end this process wait: one before a new folder is known would leave it behind."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _locked(folder: Path) -> int | None:
    """The folder, open and locked; None where another process has it, or it cannot be opened."""
    try:
        file = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder cannot be opened on Windows
        return None
    if lock(file):
        return file
    os.close(file)
    return None
