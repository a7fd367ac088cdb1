"""Runtimes that are programs: find one, run it, say why it failed; and the session of a model that one times.

A process costs a second or more whatever it times, so one serves one visit of a measurement: the discarded
runs and the sample come out of the same process, one right after another. Every visit begins another one, and
so does a sample that is taken again (`StartsProcesses`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Callable, TypeVar

from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError
from ponas_deploy.files.scratch import Scratch

TIMEOUT_S = 600
"""Of a process that runs a model."""
_MOST_DISAGREEMENT = 0.02
"""Between the mean that a program printed and that of the runs it wrote, relative to what it printed."""
Failure = Callable[[str, int], str]
"""The reason of a failure, from what a program printed and its exit code."""
_Session = TypeVar("_Session", bound="ProgramSession")


class ProgramSession(ABC):
    """A model that a program times, one process a visit; see `backends.Session`.

    Runs that a process has timed are handed out in their order, until a visit begins or they are too few. A
    subclass has a process time runs (`_timed`). `folder` is removed on closing; `visit_s` are the seconds
    that the latest process took.
    """

    def __init__(
        self, backend: str, settings: RunSettings, failure: Failure, folder: Scratch | None = None
    ) -> None:
        self._backend, self._settings, self._failure, self._folder = backend, settings, failure, folder
        self._left: list[float] = []
        self._closed = False
        self.visit_s = 0.0

    def settings(self) -> RunSettings:
        """What it was loaded with."""
        self._open()
        return self._settings

    def begin_visit(self) -> None:
        """What is asked for next comes from another process."""
        self._left = []

    def time_ns(self, runs: int) -> int:
        """Nanoseconds that `runs` runs took together, one right after another, in one process."""
        self._open()
        if len(self._left) < runs:
            start = monotonic()
            self._left = self._timed(runs)
            self.visit_s = monotonic() - start
        taken, self._left = self._left[:runs], self._left[runs:]
        return max(1, round(sum(taken)))

    def close(self) -> None:
        """Remove the folder."""
        self._closed = True
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self: _Session) -> _Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _timed(self, runs: int) -> list[float]:
        """Nanoseconds of each run of a new process, at least so many."""

    def _times(self, command: Sequence[str], read: Callable[[str, Path], list[float]]) -> list[float]:
        """What `read` finds in the text that a process printed and in the folder it ran in.

        BackendError where the process fails, and for times that cannot be read or believed.
        """
        what = "failed while timing the model"
        with Scratch(prefix="times-") as folder:
            printed = run_program(self._backend, command, Path(folder), TIMEOUT_S, what, self._failure)
            try:
                return read(printed, Path(folder))
            except (OSError, ValueError) as error:
                raise BackendError(self._backend, f"gave no times that can be read ({error}).") from error

    def _open(self) -> None:
        if self._closed:
            raise BackendError(self._backend, "the session is closed: load the model again.")


def checked_times(times_ns: Sequence[float], runs: int, printed_ms: float | None) -> list[float]:
    """The times that a program wrote, in nanoseconds.

    ValueError where they are fewer than `runs`, where one is no time, and where their mean is not the one
    that was printed, if one was.
    """
    if len(times_ns) < runs:
        raise ValueError(f"{runs} runs were asked for, and {len(times_ns)} with a time came back")
    for one in times_ns:
        if not (isfinite(one) and one > 0):
            raise ValueError(f"a run of {one:g} ns")
    mean_ms = sum(times_ns) / len(times_ns) / 1e6
    if printed_ms is not None and abs(mean_ms - printed_ms) > _MOST_DISAGREEMENT * printed_ms:
        raise ValueError(f"it printed a mean of {printed_ms:g} ms and wrote runs of {mean_ms:g} ms")
    return list(times_ns)


def required_program(
    name: str, variable: str, named: str = "", elsewhere: Sequence[Path] = (), install: str = ""
) -> str:
    """Where a program lies: the one `named` or in $`variable`, else `name` on PATH or in one of these places.

    BackendError where there is none; `install` is what would bring it.
    """
    named = named or os.environ.get(variable, "")
    places = (named,) if named else (name, *map(str, elsewhere))
    found = next(filter(None, map(shutil.which, places)), None)
    if found is None:
        unlike = "".join(f", nor is it {path}" for path in elsewhere)
        where = f"'{named}' is no program" if named else f"it is not on PATH{unlike}"
        remedy = f"install {install}, or " if install else ""
        raise BackendError(name, f"{where}: {remedy}name the program in ${variable}.")
    return str(Path(found).resolve())


def run_program(
    backend: str, command: Sequence[str], folder: Path, timeout_s: float, what: str, failure: Failure
) -> str:
    """What a program printed, run in `folder`; BackendError with the reason where it failed."""
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
