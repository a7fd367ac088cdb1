"""Profiling in a process of its own, which is started again when it falls (`worker`).

What was measured is in the journal, so that a new process goes on where the last one fell. When it falls
twice at the same step, or too often, that ends in one sentence that names the step; the journal stays.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import IO

from ponas_deploy.errors import BackendError, MeasurementError
from ponas_deploy.machines import processes
from ponas_deploy.profiling.progress import BUILDING, OnProgress, Progress
from ponas_deploy.profiling.worker import STEP_BYTES, Request, Step

MODULE = "ponas_deploy.profiling.worker"
MOST_FALLS = 3
_TICK_S = 1.0
_STEP = "step"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a process may give no sign of life: at first, at least, and in terms of its longest yet.

    `building_s` is what it may at least while it builds: of a network, after blocks that took far less.
    """

    first_s: float = 600.0
    least_s: float = 60.0
    times: float = 20.0
    building_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerFailure:
    """A process that did not finish: at which step, and what happened to it."""

    step: str
    what: str

    @property
    def text(self) -> str:
        """Step and what happened."""
        return f"{self.what} while {self.step}"


def profile_in_worker(
    request: Request, on_progress: OnProgress | None = None, patience: Timeouts | None = None
) -> None:
    """Profile in a process of its own, until the table is written.

    Raises BackendError when the runtime is missing, refuses a block or brings its process down, and
    PonasError when nothing trustworthy came out or a file cannot be written.
    """
    deadline, failures = monotonic() + request.seconds, list[WorkerFailure]()
    tell = on_progress or (lambda progress: None)
    while True:
        left_s = max(0.0, deadline - monotonic())
        if failures:
            tell(Progress("build", 0, 1, left_s, f"starting again: the process {failures[-1].text}"))
        attempt = replace(request, seconds=left_s, failures=tuple(fall.text for fall in failures))
        with _started(attempt) as worker:
            fall = _follow(worker, tell, patience or Timeouts(), request.conditions.backend)
        if fall is None:
            return
        failures.append(fall)
        same = sum(one.step == fall.step for one in failures)
        if same > 1 or len(failures) == MOST_FALLS:
            raise BackendError(
                request.conditions.backend, _sentence(fall, same, len(failures), request.journal)
            )


def _sentence(fall: WorkerFailure, same: int, failures: int, journal: Path) -> str:
    times = f"{same} times" if same > 1 else f"the last of {failures} falls"
    return (
        f"its process {fall.text}, {times}: {processes.advice(fall.what)}; what was measured is kept in"
        f" {journal}, and the same command goes on from there."
    )


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process that profiles. `lines` are what it says, an empty one when it has ended."""

    process: subprocess.Popen[bytes]
    lines: Queue[bytes]
    folder: Path

    @property
    def step(self) -> Path:
        """The file in which it notes its steps."""
        return self.folder / _STEP

    def fall(self, what: str) -> WorkerFailure:
        """What happened to it, at the step that it noted last."""
        return WorkerFailure(Step.read(self.step) or "starting", what)


@contextmanager
def _started(request: Request) -> Iterator[_Worker]:
    """Start a process in an empty folder; it is gone at the end, whatever happened."""
    with ExitStack() as stack:
        try:
            empty = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            (empty / _STEP).write_bytes(bytes(STEP_BYTES))
            given = (request.text(), str(empty / _STEP))
            process = stack.enter_context(processes.started(MODULE, *given, folder=empty))
        except OSError as error:
            raise MeasurementError(f"the process that profiles cannot start: {error}.") from error
        lines: Queue[bytes] = Queue()
        listener = Thread(target=_listen, args=(process.stdout, lines), daemon=True)
        listener.start()
        try:
            yield _Worker(process, lines, empty)
        finally:
            processes.end(process)
            listener.join()


def _listen(said: IO[bytes], lines: Queue[bytes]) -> None:
    """Pass on what a process says; this thread sleeps until it says something."""
    for line in said:
        lines.put(line)
    lines.put(b"")


def _follow(
    worker: _Worker, on_progress: OnProgress, patience: Timeouts, backend: str
) -> WorkerFailure | None:
    """Hear a process out: its fall, None when it has finished."""
    silence = _Watchdog(worker.step, patience)
    while True:
        try:
            line = worker.lines.get(timeout=_TICK_S)
        except Empty:
            if silence.too_long():
                return worker.fall(f"gave no sign of life for {silence.lasted_s:.0f} s")
            continue
        if not line:
            return worker.fall(processes.exit_reason(worker.process, worker.folder))
        silence.broken()
        message = json.loads(line)
        if "done" in message:
            return None
        if what := processes.failure_of(message):
            return worker.fall(what)
        processes.raise_reported(message, backend)
        on_progress(Progress(**message["progress"]))
        processes.acknowledge(worker.process)


class _Watchdog:
    """How long a process has said and done nothing, in ticks: what this one slept itself does not count."""

    def __init__(self, step: Path, patience: Timeouts) -> None:
        self._step, self._patience = step, patience
        self._seen = ""
        self._longest_s: float | None = None
        self.lasted_s = 0.0

    def broken(self) -> None:
        """It gave a sign of life."""
        self._longest_s = max(self._longest_s or 0.0, self.lasted_s)
        self.lasted_s = 0.0

    def too_long(self) -> bool:
        """A tick has passed: whether the process must be taken for dead."""
        self.lasted_s += _TICK_S
        seen = Step.read(self._step)
        if seen != self._seen:
            self._seen = seen
            self.broken()
        patience, longest_s = self._patience, self._longest_s
        most_s = patience.first_s if longest_s is None else max(patience.least_s, patience.times * longest_s)
        if seen.startswith(BUILDING):
            most_s = max(most_s, patience.building_s)
        return self.lasted_s > most_s
