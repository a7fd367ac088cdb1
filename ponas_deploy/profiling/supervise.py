"""Profiling in a process of its own, which is started again when it fails (`worker`).

What was measured is in the journal, so that a new process goes on where the last one ended. When it fails at
the same step again, or too often (`Retries`), that ends in one sentence that names the step; the journal
stays.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import IO

from ponas_deploy.errors import BackendError, MeasurementError
from ponas_deploy.files.scratch import Scratch
from ponas_deploy.machines import processes
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.profiling.progress import BUILDING, OnProgress, ProfilingProgress
from ponas_deploy.profiling.worker import STEP_BYTES, Request, Step

MODULE = "ponas_deploy.profiling.worker"
_TICK_S = 1.0
_STEP = "step"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a process may give no output: at first, at least, and in terms of its longest time without.

    While it builds at least `building_s`: a network may take far longer than the blocks before it.
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
    request: Request, on_progress: OnProgress | None = None, timeouts: Timeouts | None = None
) -> None:
    """Profile in a process of its own, until the table is written.

    Raises BackendError when the runtime is missing, refuses a block or brings its process down, and
    PonasError when nothing trustworthy came out or a file cannot be written.
    """
    deadline, failures = monotonic() + request.seconds, list[WorkerFailure]()
    report = on_progress or (lambda progress: None)
    while True:
        left_s = max(0.0, deadline - monotonic())
        if failures:
            report(
                ProfilingProgress("build", 0, 1, left_s, f"starting again: the process {failures[-1].text}")
            )
        attempt = replace(
            request,
            seconds=left_s,
            asked_s=request.seconds,
            failures=tuple(failure.text for failure in failures),
        )
        with _started(attempt) as worker:
            failure = _follow(worker, report, timeouts or Timeouts(), request.conditions.backend)
        if failure is None:
            return
        failures.append(failure)
        refuse_more(failures, request)


def refuse_more(failures: Sequence[WorkerFailure], request: Request) -> None:
    """BackendError where a process failed so often, or so often at one step, that no other one is started."""
    failure = failures[-1]
    same = sum(one.step == failure.step for one in failures)
    if same == RETRIES.worker_starts_at_a_step or len(failures) == RETRIES.worker_starts:
        raise BackendError(
            request.conditions.backend, _sentence(failure, same, len(failures), request.journal)
        )


def _sentence(failure: WorkerFailure, same: int, failures: int, journal: Path) -> str:
    times = f"{same} times" if same > 1 else f"the last of {failures} failures"
    return (
        f"its process {failure.text}, {times}: {processes.advice(failure.what)}; what was measured is kept in"
        f" {journal}, and the same command goes on from there."
    )


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process that profiles. `lines` are what it sends, an empty one when it has ended."""

    process: subprocess.Popen[bytes]
    lines: Queue[bytes]
    folder: Path

    @property
    def step(self) -> Path:
        """The file in which it notes its steps."""
        return self.folder / _STEP

    def failure(self, what: str) -> WorkerFailure:
        """What happened to it, at the step that it noted last."""
        return WorkerFailure(Step.read(self.step) or "starting", what)


@contextmanager
def _started(request: Request) -> Iterator[_Worker]:
    """Start a process in an empty folder; it is gone at the end, whatever happened."""
    with ExitStack() as stack:
        try:
            empty = Path(stack.enter_context(Scratch()))
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


def _listen(sent: IO[bytes], lines: Queue[bytes]) -> None:
    """Pass on what a process sends; this thread sleeps until it sends something."""
    for line in sent:
        lines.put(line)
    lines.put(b"")


def _follow(
    worker: _Worker, on_progress: OnProgress, timeouts: Timeouts, backend: str
) -> WorkerFailure | None:
    """Follow a process to its end: its failure, None when it has finished."""
    watchdog = _Watchdog(worker.step, timeouts)
    while True:
        try:
            line = worker.lines.get(timeout=_TICK_S)
        except Empty:
            if watchdog.is_overdue():
                return worker.failure(f"gave no output for {watchdog.no_output_s:.0f} s")
            continue
        if not line:
            return worker.failure(processes.exit_reason(worker.process, worker.folder))
        watchdog.output_seen()
        message = json.loads(line)
        if "done" in message:
            return None
        if what := processes.failure_of(message):
            return worker.failure(what)
        processes.raise_reported(message, backend)
        on_progress(ProfilingProgress(**message["progress"]))
        processes.acknowledge(worker.process)


class _Watchdog:
    """How long a process gave no output and noted no step, in ticks: the sleep of this one does not count."""

    def __init__(self, step: Path, timeouts: Timeouts) -> None:
        self._step, self._timeouts = step, timeouts
        self._seen = ""
        self._longest_s: float | None = None
        self.no_output_s = 0.0

    def output_seen(self) -> None:
        """It gave output, or noted a step."""
        self._longest_s = max(self._longest_s or 0.0, self.no_output_s)
        self.no_output_s = 0.0

    def is_overdue(self) -> bool:
        """A tick has passed: whether the process has given no output for too long."""
        self.no_output_s += _TICK_S
        seen = Step.read(self._step)
        if seen != self._seen:
            self._seen = seen
            self.output_seen()
        timeouts, longest_s = self._timeouts, self._longest_s
        most_s = timeouts.first_s if longest_s is None else max(timeouts.least_s, timeouts.times * longest_s)
        if seen.startswith(BUILDING):
            most_s = max(most_s, timeouts.building_s)
        return self.no_output_s > most_s
