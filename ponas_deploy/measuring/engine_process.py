"""The fresh process in which an engine is timed: what it does, and the call that starts it.

Runs on a board as it is: the standard library, NumPy and a runtime.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from ponas_deploy.backends import RunSettings, Session, get_backend
from ponas_deploy.errors import BackendError, MeasurementError, PonasError
from ponas_deploy.machines import processes
from ponas_deploy.measuring.contention import ContentionProbe, CoreReading, probe_for, readings
from ponas_deploy.measuring.protocol import Plan, begin_visit
from ponas_deploy.measuring.retries import RETRIES

SECONDS, WARM_UP_S, REFERENCE_S = 0.6, 0.2, 0.1
LEAST_RUNS, MOST_RUNS = 30, 2000
REFERENCE_RUNS, REFERENCE_MOST_NS = 10, 20e6
"""Samples of the reference network at least, and how long one is at most: longer than a turn on the core."""
PLAN = Plan(redone_pct=RETRIES.redone_processes_pct)
_TIMEOUT_S = 300
_MODULE = "ponas_deploy.measuring.engine_process"


@dataclass(frozen=True)
class Timed:
    """What is timed: the file that opens an engine, its runtime and settings, for about so many `seconds`.

    `core_ns` is what the core's arithmetic takes on this machine while nobody shares the core, 0 where that
    is not known. `reference` is the ONNX file of the network that is timed beside it, None for none.
    """

    engine: Path
    backend: str
    settings: RunSettings
    seconds: float = SECONDS
    core_ns: float = 0.0
    reference: Path | None = None


@dataclass(frozen=True)
class Taken:
    """What a fresh process measured: nanoseconds of single inferences, and how its core was.

    `reference_ns` are those of the reference network, half of them before and half after; empty without one.
    """

    runs_ns: tuple[int, ...]
    core: CoreReading
    reference_ns: tuple[int, ...] = ()

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
        reference_ns = tuple(document["reference_ns"])
        return cls(tuple(document["runs_ns"]), CoreReading(**document["core"]), reference_ns)


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
    numbers = map(str, (timed.settings.threads, timed.seconds, timed.core_ns))
    reference = str(timed.reference.resolve()) if timed.reference else ""
    request = [str(timed.engine.resolve()), timed.backend, timed.settings.precision, *numbers, reference]
    try:
        done = subprocess.run(
            processes.command(_MODULE, *request),
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
) -> list[int]:
    """Nanoseconds of single inferences after a warm-up, for `seconds` and at least as many as `least`.

    With `probe` those while nobody shared the core, unless they are too few. With `in_a_row` each is the mean
    of so many, one right after another.
    """
    begin_visit(session)
    start = perf_counter_ns()
    while perf_counter_ns() - start < min(WARM_UP_S, seconds) * 1e9:
        session.time_ns(1)

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


def main(arguments: Sequence[str]) -> None:
    """The fresh process: print what it measured as JSON, or end with the reason."""
    engine, backend, precision, threads, seconds, core_ns, reference = arguments
    settings, core = RunSettings(precision, int(threads)), float(core_ns)
    try:
        with ExitStack() as open_sessions:
            session = open_sessions.enter_context(get_backend(backend).open(Path(engine), settings))
            model = Path(reference).read_bytes() if reference else b""
            beside = reference_session(model, backend, settings, open_sessions)
            probe = probe_for(backend, settings.threads, core)
            before = reference_runs(beside, session, backend, settings, core)
            runs = single_runs(session, float(seconds), probe)
            seen = readings(probe)()
            if len(runs) < seen.kept:  # those that were shared are not among them
                seen = replace(seen, contended=0)
            after = reference_runs(beside, session, backend, settings, core)
        print(json.dumps(Taken(tuple(runs), seen, (*before, *after)).document()))
    except PonasError as failure:
        sys.exit(str(failure))


def reference_session(
    model: bytes, backend: str, settings: RunSettings, open_sessions: ExitStack
) -> Session | None:
    """The reference network, open; None without a model of it, or where the runtime does not take it."""
    if not model:
        return None
    with suppress(PonasError):
        return open_sessions.enter_context(get_backend(backend).load(model, settings))
    return None


def reference_runs(
    beside: Session | None, engine: Session, backend: str, settings: RunSettings, core_ns: float
) -> list[int]:
    """Nanoseconds of the reference network, of as many inferences in a row as take as long as the engine.

    A shorter sample would fit between the turns that other processes get on the core, and show nothing of
    what they cost the engine. None without `beside`. By a probe of its own: what it waits for a shared core
    is not taken from the engine.
    """
    if beside is None:
        return []
    engine_ns, own_ns = (min(one.time_ns(1) for _ in range(3)) for one in (engine, beside))
    in_a_row = max(1, round(min(engine_ns, REFERENCE_MOST_NS) / own_ns))
    probe = probe_for(backend, settings.threads, core_ns)
    return single_runs(beside, REFERENCE_S, probe, in_a_row=in_a_row, least=REFERENCE_RUNS)
