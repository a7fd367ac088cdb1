"""Time an engine in a fresh process: what that process does, and the call that starts it.

Each run is timed on its own, so that percentiles are those of single inferences. Several processes are
started one after another, because a runtime's speed varies from process to process; how far their
medians lie apart is the noise floor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

from ponas_deploy.backends import RunSettings, Session, get_backend
from ponas_deploy.errors import BackendError, MeasurementError, PonasError
from ponas_deploy.tables.measurement import quantile

PROCESSES, SECONDS, WARM_UP_S = 3, 0.6, 0.2
LEAST_RUNS, MOST_RUNS = 30, 2000
_TIMEOUT_S = 300
# What the fresh process runs: it sets the import path before it imports anything that is not built in.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from ponas_deploy.timing import main; main(sys.argv[1:])"


@dataclass(frozen=True, slots=True)
class EngineTiming:
    """What the clock said: nanoseconds of every single inference, process by process."""

    processes_ns: tuple[tuple[int, ...], ...]

    def percentile_ms(self, percent: float) -> float:
        """A percentile of all inferences, in milliseconds."""
        pooled = tuple(float(value) for process in self.processes_ns for value in process)
        return quantile(pooled, percent / 100) / 1e6

    @property
    def noise_floor_pct(self) -> float:
        """How far the medians of the processes lie apart, in percent of the smallest."""
        medians = [quantile(tuple(map(float, process)), 0.5) for process in self.processes_ns]
        return 100 * (max(medians) / min(medians) - 1)

    @property
    def runs(self) -> int:
        """How many inferences were timed."""
        return sum(map(len, self.processes_ns))


def time_engine(engine: Path, backend: str, settings: RunSettings) -> EngineTiming:
    """Time an engine in PROCESSES fresh processes of SECONDS each; BackendError when one fails."""
    return EngineTiming(
        tuple(_in_fresh_process(engine, backend, settings, SECONDS) for _ in range(PROCESSES))
    )


def _in_fresh_process(engine: Path, backend: str, settings: RunSettings, seconds: float) -> tuple[int, ...]:
    request = [str(engine.resolve()), backend, settings.precision, str(settings.threads), str(seconds)]
    program = _PROGRAM.format(path=_import_path())
    try:
        with tempfile.TemporaryDirectory() as empty:
            done = subprocess.run(
                [sys.executable, "-c", program, *request],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
                cwd=empty,
            )
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(f"timing {engine} took over {_TIMEOUT_S} s and was stopped.") from error
    except OSError as error:
        raise MeasurementError(f"the process that times {engine} cannot start: {error}.") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
        raise BackendError(backend, f"the process that timed {engine} failed: {reason}")
    return tuple(json.loads(done.stdout))


def _import_path() -> list[str]:
    """This process's import path for a fresh one, where no module of the user's folder hides another.

    The root of this package (a checkout, site-packages) is on it even if it came from the current
    folder; any other entry that is the current folder comes last.
    """
    root, current = Path(__file__).resolve().parent.parent, Path.cwd()
    entries = [os.path.abspath(entry) for entry in sys.path if entry]
    if root not in map(Path.resolve, map(Path, entries)):
        entries.insert(0, str(root))
    return sorted(entries, key=lambda entry: Path(entry).resolve() == current != root)


def single_runs(session: Session, seconds: float) -> list[int]:
    """Nanoseconds of single inferences after a warm-up, for `seconds` and at least LEAST_RUNS."""
    start = perf_counter_ns()
    while perf_counter_ns() - start < min(WARM_UP_S, seconds) * 1e9:
        session.time_ns(1)
    start, runs = perf_counter_ns(), list[int]()
    while len(runs) < LEAST_RUNS or perf_counter_ns() - start < seconds * 1e9:
        runs.append(session.time_ns(1))
        if len(runs) == MOST_RUNS:
            break
    return runs


def main(arguments: Sequence[str]) -> None:
    """The fresh process: print the nanoseconds of single inferences as JSON, or end with the reason."""
    engine, backend, precision, threads, seconds = arguments
    try:
        with get_backend(backend).open(Path(engine), RunSettings(precision, int(threads))) as session:
            print(json.dumps(single_runs(session, float(seconds))))
    except PonasError as failure:
        sys.exit(str(failure))
