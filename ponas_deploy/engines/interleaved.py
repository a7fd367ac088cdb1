"""Time many engines of one runtime in the same rounds, so that they can be compared with each other.

In each of a few fresh processes all engines are open, and every round takes a single inference of each in a
new random order, by the protocol of `measuring`: while nobody shares the core, disturbed rounds again, the
machine's level divided out of every sample. What slows all of them alike in one process is divided out too;
what is left between the processes is the noise floor. A small fixed network runs among them (`reference`), so
that there is a level even where few are compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from threading import Timer
from time import monotonic

import numpy as np

from ponas_deploy.backends import RunSettings, Session, get_backend
from ponas_deploy.backends.protocol import ReadsGpu
from ponas_deploy.engines import reference
from ponas_deploy.engines.timing import PROCESSES
from ponas_deploy.errors import BackendError, MeasurementError
from ponas_deploy.files.scratch import Scratch
from ponas_deploy.machines import processes
from ponas_deploy.machines.nvidia import GpuReading
from ponas_deploy.measuring import detrend
from ponas_deploy.measuring.contention import probe_for, readings
from ponas_deploy.measuring.engine_process import LEAST_RUNS, reference_session
from ponas_deploy.measuring.interference import Interference, take_snapshot
from ponas_deploy.measuring.plans import plan_for
from ponas_deploy.measuring.protocol import Plan, Samples, measure
from ponas_deploy.profiling.progress import OnProgress, ProfilingProgress
from ponas_deploy.tables.latency import Conditions

MODULE = "ponas_deploy.engines.interleaved"
SECONDS = 60.0
"""Seconds of rounds where nobody says, in all processes together."""
_MOST_ROUNDS, _FLOOR_ROUNDS, _WARM_UP_RUNS = 400, 8, 3
_TIMEOUT_S = 600.0
"""Opening engines and the fewest rounds of slow ones, beyond the time that was given."""


@dataclass(frozen=True, slots=True)
class Interleaved:
    """What engines took, by key: the median of single inferences in each process, in ms.

    `rounds` were taken in all processes together; `shared_pct` of the samples met a core that something else
    shared at first. `disturbed` says what was wrong in rounds that were kept, empty where nothing was.
    """

    processes_ms: Mapping[str, tuple[float, ...]]
    rounds: int
    shared_pct: float
    disturbed: str

    def measured_ms(self, key: str) -> float:
        """The median of the processes."""
        return median(self._steady_ms(key))

    def noise_pct(self, key: str) -> float:
        """How far the processes lie apart, in percent of the fastest, beside what all engines share."""
        own = self._steady_ms(key)
        return 100 * (max(own) / min(own) - 1)

    @property
    def floor_pct(self) -> float:
        """The noise floor: what the median engine's processes lie apart by."""
        return median(self.noise_pct(key) for key in self.processes_ms)

    def is_resolved(self, key: str, other: str) -> bool:
        """Whether two engines differ by more than their noise and the floor."""
        noise_pct = max(self.floor_pct, self.noise_pct(key), self.noise_pct(other))
        low, high = sorted((self.measured_ms(key), self.measured_ms(other)))
        return 100 * (high / low - 1) > noise_pct

    def _steady_ms(self, key: str) -> list[float]:
        """The medians of the processes, over what all engines took there relative to the other processes."""
        return [ms / level for ms, level in zip(self.processes_ms[key], self._levels(), strict=True)]

    def _levels(self) -> list[float]:
        relative = [[ms / median(row) for ms in row] for row in self.processes_ms.values()]
        return [median(column) for column in zip(*relative, strict=True)]


def time_interleaved(
    engines: Mapping[str, Path],
    conditions: Conditions,
    seconds: float = SECONDS,
    on_progress: OnProgress | None = None,
) -> Interleaved:
    """Time engines of these conditions, by key, in rounds of some `seconds` in all processes together.

    BackendError where an engine cannot be opened or brings its process down, MeasurementError where a process
    cannot start.
    """
    taken, core_ns = list[_Taken](), 0.0
    for number in range(PROCESSES):
        request = _Request(
            {key: str(path.resolve()) for key, path in engines.items()},
            conditions.backend,
            conditions.precision,
            conditions.threads,
            seconds / PROCESSES,
            number,
            core_ns,
        )
        taken.append(_from_a_process(request, on_progress or (lambda progress: None)))
        core_ns = min(filter(None, (core_ns, taken[-1].core_ns)), default=0.0)
    wrong, rounds = sum(one.wrong_rounds for one in taken), sum(one.rounds for one in taken)
    because = next((one.wrong for one in reversed(taken) if one.wrong), "")
    return Interleaved(
        {key: tuple(one.medians_ns[key] / 1e6 for one in taken) for key in taken[0].medians_ns},
        rounds,
        sum(one.shared_pct for one in taken) / len(taken),
        f"{wrong} of {rounds} rounds were disturbed ({because}): `ponas doctor` says what to do; then compare"
        " again."
        if wrong
        else "",
    )


@dataclass(frozen=True, slots=True)
class _Request:
    """What a process is to time: files of engines by key. `number` is that of the process, from 0."""

    engines: Mapping[str, str]
    backend: str
    precision: str
    threads: int
    seconds: float
    number: int
    core_ns: float


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a process measured: medians in ns by key, and how its rounds were."""

    medians_ns: Mapping[str, float]
    rounds: int
    wrong_rounds: int
    wrong: str
    shared_pct: float
    core_ns: float


def _from_a_process(request: _Request, on_progress: OnProgress) -> _Taken:
    backend, out_of_time = request.backend, list[bool]()
    with ExitStack() as stack:
        try:
            empty = Path(stack.enter_context(Scratch()))
            text = json.dumps(asdict(request))
            process = stack.enter_context(processes.started(MODULE, text, folder=empty))
        except OSError as error:
            raise MeasurementError(f"the process that times engines cannot start: {error}.") from error

        def stop() -> None:
            out_of_time.append(True)
            processes.end(process)

        watchdog = Timer(request.seconds + _TIMEOUT_S, stop)
        watchdog.daemon = True
        watchdog.start()
        stack.callback(watchdog.cancel)
        for line in process.stdout or ():
            message = json.loads(line)
            if "done" in message:
                return _Taken(**message["done"])
            if what := processes.failure_of(message):
                raise _failed(backend, what)
            processes.raise_reported(message, backend)
            on_progress(ProfilingProgress(**message["progress"]))
            processes.acknowledge(process)
        if out_of_time:
            raise _failed(backend, f"was stopped after {request.seconds + _TIMEOUT_S:.0f} s")
        raise _failed(backend, processes.exit_reason(process, empty))


def _failed(backend: str, what: str) -> BackendError:
    return BackendError(backend, f"the process that times engines {what}: {processes.advice(what)}.")


def main(arguments: Sequence[str]) -> None:
    """The process: one request as JSON."""
    request = _Request(**json.loads(arguments[0]))
    processes.serve(lambda send: asdict(_take(request, send)))


def _take(request: _Request, send: processes.Send) -> _Taken:
    with ExitStack() as stack:
        sessions = _open(request, stack)
        plan = _plan(request.backend)
        probe = probe_for(request.backend, request.threads, request.core_ns)
        backend = get_backend(request.backend)
        read_gpu = backend.reading if isinstance(backend, ReadsGpu) else GpuReading
        interference = Interference(plan, lambda: take_snapshot(read_gpu, readings(probe)))
        samples, deadline = Samples(), monotonic() + request.seconds
        outcome = measure(
            sessions,
            dict.fromkeys(sessions, 1),
            samples,
            plan,
            seed=request.number,
            deadline=deadline,
            on_round=lambda rounds, took_s: _report(request, rounds, deadline, send),
            interference=interference,
            probe=probe,
        )
    measured, wrong = detrend.measurements(samples), interference.disturbed.rounds
    seen = readings(probe)()
    return _Taken(
        {key: 1e6 * one.value_ms("median") for key, one in measured.items()},
        outcome.rounds,
        len(wrong),
        wrong[-1].wrong if wrong else "",
        seen.shared_pct,
        seen.usual_ns,
    )


def _open(request: _Request, stack: ExitStack) -> dict[str, Session]:
    """All engines and the reference network, each run a few times.

    They are opened in another order in each process: what is opened first may lie in other memory, and be
    slower by 1 to 2 % (docs/measuring.md).
    """
    backend, settings = get_backend(request.backend), RunSettings(request.precision, request.threads)
    engines = list(request.engines.items())
    order = np.random.default_rng(request.number).permutation(len(engines))
    found = {
        key: stack.enter_context(backend.open(Path(file), settings))
        for key, file in (engines[place] for place in order)
    }
    model = reference.reference_model() if reference.serves(request.backend) else b""
    beside = reference_session(model, request.backend, settings, stack)
    if beside is not None:
        found[reference.NAME] = beside
    for session in found.values():
        session.time_ns(_WARM_UP_RUNS)
    return found


def _plan(backend: str) -> Plan:
    """Single inferences, as engines are timed."""
    return replace(
        plan_for(backend),
        sample_ns=1,
        min_rounds=LEAST_RUNS,
        max_rounds=_MOST_ROUNDS,
        floor_rounds=_FLOOR_ROUNDS,
    )


def _report(request: _Request, rounds: int, deadline: float, send: processes.Send) -> None:
    left_s = max(0.0, deadline - monotonic())
    processes_left = PROCESSES - 1 - request.number
    part = 1 - left_s / request.seconds if request.seconds else 1.0
    send(
        {
            "progress": {
                "stage": "measure",
                "done": round(100 * (request.number + part)),
                "total": 100 * PROCESSES,
                "seconds_left": left_s + processes_left * request.seconds,
                "text": f"process {request.number + 1} of {PROCESSES}, round {rounds}",
            }
        }
    )
