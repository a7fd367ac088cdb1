"""The fresh process in which an engine is timed: what it does, and the call that starts it.

Runs on a board as it is: the standard library, NumPy and a runtime.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from ponas_deploy.backends import Backend, RunSettings, Session, get_backend
from ponas_deploy.backends.protocol import PicksProcessor, ReadsGpu, StartsProcesses
from ponas_deploy.backends.streams import loaded, opened
from ponas_deploy.errors import BackendError, MeasurementError, PonasError
from ponas_deploy.machines import processes
from ponas_deploy.machines.devfreq import GpuClock, read_gpu_clock
from ponas_deploy.machines.energy import (
    EnergyCounter,
    EnergyMeter,
    EnergyTaken,
    energy_counter,
    idle_watts,
    no_counter,
)
from ponas_deploy.machines.gpu import first_uuid
from ponas_deploy.machines.nvidia import GpuReading
from ponas_deploy.machines.process_memory import MemoryTaken, gpu_memory_bytes, peak_resident_bytes
from ponas_deploy.measuring.contention import ContentionProbe, CoreReading, probe_for, readings
from ponas_deploy.measuring.protocol import Plan, begin_visit
from ponas_deploy.measuring.retries import RETRIES

SECONDS, WARM_UP_S, REFERENCE_S = 0.6, 0.2, 0.1
LEAST_RUNS, MOST_RUNS = 30, 2000
REFERENCE_RUNS, REFERENCE_MOST_NS = 10, 20e6
"""Samples of the reference network at least, and how long one is at most: longer than a turn on the core."""
BACK_TO_BACK_NS = 20e6
"""Inferences in a row of which the mean is one sample, where throughput is measured."""
CLOCK_AGREES_PCT, CLOCK_WARM_UP_S = 2.0, 3.0
"""A GPU is warm when its clock is what it was WARM_UP_S ago, within so much; so long is waited at most."""
_FIRST_RUNS = 3
"""Inferences after which an engine has taken the memory that it takes."""
PLAN = Plan(redone_pct=RETRIES.redone_processes_pct)
_TIMEOUT_S = 300
_MODULE = "ponas_deploy.measuring.engine_process"


@dataclass(frozen=True)
class Timed:
    """What is timed: the file that opens an engine, its runtime and settings, for about so many `seconds`.

    `core_ns` is what the core's arithmetic takes on this machine while nobody shares the core, 0 where that
    is not known. `reference` is the ONNX file of the network that is timed beside it, None for none. With
    `back_to_back` a sample is the mean of many inferences, one right after another, as throughput is
    measured; with `energy` that is read beside it, where the machine counts it.
    """

    engine: Path
    backend: str
    settings: RunSettings
    seconds: float = SECONDS
    core_ns: float = 0.0
    reference: Path | None = None
    back_to_back: bool = False
    energy: bool = False


@dataclass(frozen=True)
class GpuTaken:
    """A GPU at the end of the inferences on it, and the clock that the kernel governs before and after."""

    reading: GpuReading
    before: GpuClock | None = None
    after: GpuClock | None = None

    @classmethod
    def of(cls, document: dict[str, Any]) -> GpuTaken:
        """Read what `asdict` and JSON made of it."""
        reading, clocks = dict(document["reading"]), (document["before"], document["after"])
        reading["throttle"] = tuple(reading["throttle"])
        if reading["compute_capability"]:
            reading["compute_capability"] = tuple(reading["compute_capability"])
        before, after = (
            GpuClock(**{**one, "spent_ms": tuple(map(tuple, one["spent_ms"]))}) if one else None
            for one in clocks
        )
        return cls(GpuReading(**reading), before, after)


@dataclass(frozen=True)
class Taken:
    """What a fresh process measured: nanoseconds of single inferences, and how its core was.

    `reference_ns` are those of the reference network, half of them before and half after; empty without one.
    `memory` is that of this process before the reference network was opened, `energy` what inferences took;
    None where it was not measured, and `no_energy` says why where it was asked for. `gpu` is None where
    nothing ran on one.
    """

    runs_ns: tuple[int, ...]
    core: CoreReading
    reference_ns: tuple[int, ...] = ()
    memory: MemoryTaken | None = None
    energy: EnergyTaken | None = None
    no_energy: str = ""
    gpu: GpuTaken | None = None

    @property
    def is_contended(self) -> bool:
        """Whether too many of these were taken while something shared the core."""
        return self.core.contended_pct > PLAN.most_contended_pct

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Taken:
        """Read what `document` gave."""
        memory, energy = document["memory"], document["energy"]
        return cls(
            tuple(document["runs_ns"]),
            CoreReading(**document["core"]),
            tuple(document["reference_ns"]),
            MemoryTaken(**memory) if memory else None,
            EnergyTaken(**energy) if energy else None,
            document["no_energy"],
            GpuTaken.of(document["gpu"]) if document["gpu"] else None,
        )


def take_in_fresh_process(timed: Timed, empty: Path) -> Taken:
    """Time an engine in a fresh process whose folder is `empty`.

    From another one where the first dies: too little memory, say, is often a matter of the moment.
    BackendError where that fails too, or the process cannot open the engine; MeasurementError where it takes
    too long.
    """
    for _ in range(RETRIES.process_starts - 1):
        with suppress(BackendError):
            return _taken_once(timed, empty)
    return _taken_once(timed, empty)


def _taken_once(timed: Timed, empty: Path) -> Taken:
    request = json.dumps(
        {
            **asdict(timed),
            "engine": str(timed.engine.resolve()),
            "reference": str(timed.reference.resolve()) if timed.reference else None,
        }
    )
    try:
        done = subprocess.run(
            processes.command(_MODULE, request),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            cwd=empty,
            env=processes.environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(f"timing {timed.engine} took over {_TIMEOUT_S} s and was stopped.") from error
    except OSError as error:
        raise MeasurementError(f"the process that times {timed.engine} cannot start: {error}.") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() if done.returncode > 0 else []
        ended = processes.ending(done.returncode)
        reason = said[-1] if said else f"it {ended}: {processes.advice(ended)}."
        raise BackendError(timed.backend, f"the process that timed {timed.engine} failed: {reason}")
    return Taken.of(json.loads(done.stdout))


def single_runs(
    session: Session,
    seconds: float,
    probe: ContentionProbe | None = None,
    *,
    in_a_row: int = 1,
    least: int = LEAST_RUNS,
    clock_mhz: Callable[[], float | None] = lambda: None,
) -> list[int]:
    """Nanoseconds of single inferences after a warm-up, for `seconds` and at least as many as `least`.

    With `probe` those while nobody shared the core, unless they are too few. With `in_a_row` each is the mean
    of so many, one right after another. `clock_mhz` reads the clock of the GPU that they run on, if any.
    """
    begin_visit(session)
    _warm_up(session, min(WARM_UP_S, seconds), clock_mhz)

    def once() -> int:
        if probe and probe.changes_core:
            session.time_ns(1)
        return session.time_ns(in_a_row) // in_a_row

    runs: list[int] = []
    quiet_runs: list[int] = []
    start = perf_counter_ns()
    while len(runs) < least or perf_counter_ns() - start < seconds * 1e9:
        taken_ns, quiet = probe.take_quiet(once) if probe else (once(), True)
        runs.append(taken_ns)
        if quiet:
            quiet_runs.append(taken_ns)
        if len(runs) == MOST_RUNS:
            break
    return quiet_runs if len(quiet_runs) >= least else runs


def _warm_up(session: Session, seconds: float, clock_mhz: Callable[[], float | None]) -> None:
    """Run for some seconds, and on a GPU until its clock is what it was then: it may climb for longer."""
    give_up_ns, before_mhz = perf_counter_ns() + CLOCK_WARM_UP_S * 1e9, 0.0
    while True:
        start = perf_counter_ns()
        while perf_counter_ns() - start < seconds * 1e9:
            session.time_ns(1)
        now_mhz = clock_mhz()
        if not now_mhz or perf_counter_ns() > give_up_ns:
            return
        if before_mhz and abs(now_mhz / before_mhz - 1) <= CLOCK_AGREES_PCT / 100:
            return
        before_mhz = now_mhz


def main(arguments: Sequence[str]) -> None:
    """The fresh process: print what it measured as JSON, or end with the reason."""
    (request,) = arguments
    asked = json.loads(request)
    reference = asked.pop("reference")
    timed = Timed(
        **{**asked, "engine": Path(asked["engine"]), "settings": RunSettings(**asked["settings"])},
        reference=Path(reference) if reference else None,
    )
    try:
        print(json.dumps(_take(timed).document()))
    except PonasError as failure:
        sys.exit(str(failure))


def _take(timed: Timed) -> Taken:
    """What this process measures. Before it opens an engine, it has imported the runtime and no more."""
    name, settings, core = timed.backend, timed.settings, timed.core_ns
    backend = get_backend(name)
    on_gpu = _runs_on_gpu(backend)
    runtime_bytes = peak_resident_bytes()
    counter = energy_counter(on_gpu=on_gpu) if timed.energy else None
    idle_w = idle_watts(counter, counter.window_s / 2) if counter else 0.0
    with ExitStack() as open_sessions:
        session = open_sessions.enter_context(opened(backend, timed.engine, settings))
        memory = _memory_of(session, runtime_bytes, on_gpu=on_gpu)
        model = timed.reference.read_bytes() if timed.reference else b""
        beside = reference_session(model, name, settings, open_sessions)
        probe = probe_for(name, settings.all_threads, core)
        # Of several streams that begin together, single inferences would show how they begin.
        in_a_row = _in_a_row(session) if timed.back_to_back or settings.streams > 1 else 1
        before = reference_runs(beside, session, name, settings, core, in_a_row)
        clock_before = read_gpu_clock() if on_gpu else None
        runs = single_runs(
            session, timed.seconds, probe, in_a_row=in_a_row, clock_mhz=_clock_of(backend, session)
        )
        gpu = None
        if isinstance(backend, ReadsGpu) and on_gpu:
            gpu = GpuTaken(backend.reading(), clock_before, read_gpu_clock())
        seen = readings(probe)()
        if len(runs) < seen.kept:  # those that were shared are not among them
            seen = replace(seen, contended=0)
        after = reference_runs(beside, session, name, settings, core, in_a_row)
        energy = _energy_of(session, counter, idle_w) if counter else None
    no_energy = ""
    if timed.energy and energy is None:
        no_energy = f"{counter.source} did not move." if counter else no_counter(on_gpu=on_gpu)
    return Taken(tuple(runs), seen, (*before, *after), memory, energy, no_energy, gpu)


def _clock_of(backend: Backend, session: Session) -> Callable[[], float | None]:
    """What reads the GPU's clock while a session warms up; nothing where each process warms up itself."""
    if isinstance(backend, ReadsGpu) and _runs_on_gpu(backend) and not isinstance(session, StartsProcesses):
        reading = backend.reading
        return lambda: reading().sm_clock_mhz
    return lambda: None


def _runs_on_gpu(backend: Backend) -> bool:
    return isinstance(backend, ReadsGpu) and (not isinstance(backend, PicksProcessor) or backend.on_gpu)


def _memory_of(session: Session, runtime_bytes: int, *, on_gpu: bool) -> MemoryTaken | None:
    """After a few inferences; None where the system does not say it, or another process holds the engine."""
    if not runtime_bytes or isinstance(session, StartsProcesses):
        return None
    session.time_ns(_FIRST_RUNS)
    return MemoryTaken(peak_resident_bytes(), runtime_bytes, gpu_memory_bytes(first_uuid()) if on_gpu else 0)


def _in_a_row(session: Session) -> int:
    """How many inferences make one sample of throughput."""
    session.time_ns(1)
    return max(1, round(BACK_TO_BACK_NS / min(session.time_ns(1) for _ in range(3))))


def _energy_of(session: Session, counter: EnergyCounter, idle_w: float) -> EnergyTaken | None:
    """Of inferences one right after another for as long as the counter needs; None where it did not move."""
    inferences, in_a_row = 0, _in_a_row(session)
    with EnergyMeter(counter) as meter:
        end_ns = perf_counter_ns() + counter.window_s * 1e9
        while inferences == 0 or perf_counter_ns() < end_ns:
            session.time_ns(in_a_row)
            inferences += in_a_row
    if meter.joules <= 0:
        return None
    return EnergyTaken(counter.source, inferences, meter.joules, meter.seconds, idle_w)


def reference_session(
    model: bytes, backend: str, settings: RunSettings, open_sessions: ExitStack
) -> Session | None:
    """The reference network, open; None without a model of it, or where the runtime does not take it."""
    if not model:
        return None
    with suppress(PonasError):
        return open_sessions.enter_context(loaded(get_backend(backend), model, settings))
    return None


def reference_runs(
    beside: Session | None,
    engine: Session,
    backend: str,
    settings: RunSettings,
    core_ns: float,
    engine_in_a_row: int = 1,
) -> list[int]:
    """Nanoseconds of the reference network, of as many inferences in a row as take as long as the engine's.

    A sample of the engine is of `engine_in_a_row` inferences. A shorter one would fit between the turns that
    other processes get on the core, and show nothing of what they cost the engine. None without `beside`. By
    a probe of its own: what it waits for a shared core is not taken from the engine.
    """
    if beside is None:
        return []
    engine_ns, own_ns = (min(one.time_ns(1) for _ in range(3)) for one in (engine, beside))
    in_a_row = max(1, round(min(engine_ns * engine_in_a_row, REFERENCE_MOST_NS) / own_ns))
    probe = probe_for(backend, settings.all_threads, core_ns)
    return single_runs(beside, REFERENCE_S, probe, in_a_row=in_a_row, least=REFERENCE_RUNS)
