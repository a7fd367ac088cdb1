"""Time an engine in a fresh process: `python -m ponas_deploy.timing ENGINE ...`, and the call that starts it.

Each run is timed on its own, so that percentiles are those of single inferences. Several processes are
started one after another, because a runtime's speed varies from process to process; how far their
medians lie apart is the noise floor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
    request = [str(engine), backend, settings.precision, str(settings.threads), str(seconds)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ponas_deploy.timing", *request],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(f"timing {engine} took over {_TIMEOUT_S} s and was stopped.") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
        raise BackendError(backend, f"the process that timed {engine} failed: {reason}")
    return tuple(json.loads(done.stdout))


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


def _main(arguments: Sequence[str]) -> None:
    engine, backend, precision, threads, seconds = arguments
    with get_backend(backend).open(Path(engine), RunSettings(precision, int(threads))) as session:
        print(json.dumps(single_runs(session, float(seconds))))


if __name__ == "__main__":
    try:
        _main(sys.argv[1:])
    except PonasError as failure:
        sys.exit(str(failure))
