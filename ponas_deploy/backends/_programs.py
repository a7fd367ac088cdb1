"""Runtimes that are programs: run one, say why it failed, hand out the runs of one process until it rests.

A process costs a second or more whatever it times, so one serves one visit: a handful of `time_ns` calls one
right after another, discarded runs, a sample, perhaps once more. Runs that were not asked for within REST_S
of the last call are forgotten, so that the next round starts a process of its own.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Callable, List

from ponas_deploy.errors import BackendError

REST_S = 0.5
Timed = Callable[[int], List[float]]
"""Nanoseconds of each run of a new process, at least so many."""


class RunsOfAVisit:
    """Runs that a process has timed, handed out in their order; `visit_s` is what the latest one took."""

    def __init__(self, timed: Timed) -> None:
        self._timed = timed
        self._left: list[float] = []
        self._last_call = float("-inf")
        self.visit_s = 0.0

    def time_ns(self, runs: int) -> int:
        """Nanoseconds that `runs` runs took together, of one process."""
        if monotonic() - self._last_call > REST_S or len(self._left) < runs:
            start = monotonic()
            self._left = self._timed(runs)
            self.visit_s = monotonic() - start
        taken, self._left = self._left[:runs], self._left[runs:]
        self._last_call = monotonic()
        return max(1, round(sum(taken)))


def found_program(named: str, name: str, elsewhere: Sequence[Path] = ()) -> str | None:
    """Where a program lies: the one that was named, else `name` on PATH or in one of these places."""
    places = (named,) if named else (name, *map(str, elsewhere))
    found = next(filter(None, map(shutil.which, places)), None)
    return found and str(Path(found).resolve())


def run_program(
    backend: str,
    command: Sequence[str],
    folder: Path,
    timeout_s: float,
    what: str,
    failure: Callable[[str, int], str],
) -> str:
    """What a program printed, run in `folder`; BackendError with the reason where it failed.

    `failure` finds the reason in what it printed and its exit code.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            cwd=folder,
        )
    except subprocess.TimeoutExpired as error:
        raise BackendError(backend, f"{what}: it took over {timeout_s:.0f} s and was stopped.") from error
    except OSError as error:
        raise BackendError(backend, f"{what}: {command[0]} cannot start ({error.strerror}).") from error
    if done.returncode:
        raise BackendError(backend, f"{what}: {failure(done.stdout, done.returncode)}")
    return done.stdout
