"""The fresh process in which many engines are timed in the same rounds, and the call that starts it.

Runs on a board as it is: the standard library, NumPy and a runtime.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Timer
from time import monotonic
from typing import Any, Callable, Mapping

import numpy as np

from ponas_deploy.backends import RunSettings, Session, get_backend
from ponas_deploy.backends.protocol import ReadsGpu
from ponas_deploy.backends.streams import opened
from ponas_deploy.errors import BackendError
from ponas_deploy.machines import processes
from ponas_deploy.machines.nvidia import GpuReading
from ponas_deploy.measuring.contention import probe_for, readings
from ponas_deploy.measuring.engine_process import reference_session
from ponas_deploy.measuring.interference import Interference, take_snapshot
from ponas_deploy.measuring.protocol import Plan, Samples, measure

MODULE = "ponas_deploy.measuring.interleaved_process"
_WARM_UP_RUNS = 3
_TIMEOUT_S = 600.0
"""Opening engines and the fewest rounds of slow ones, beyond the time that was given."""


@dataclass(frozen=True)
class TimedTogether:
    """What a process is to time: the file that opens each engine, by key.

    Rounds are taken by `plan`, in some `seconds`. `number` is that of the process, from 0; `core_ns` as in
    `engine_process.Timed`. `reference` is the name and the ONNX file of the network that is timed among them,
    None for none.
    """

    engines: Mapping[str, Path]
    backend: str
    settings: RunSettings
    plan: Plan
    seconds: float
    number: int
    core_ns: float
    reference: tuple[str, Path] | None

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), default=lambda path: str(path.resolve()))

    @classmethod
    def of(cls, text: str) -> TimedTogether:
        """Read what `text` wrote."""
        values = json.loads(text)
        engines = {key: Path(path) for key, path in values["engines"].items()}
        settings, plan = RunSettings(**values["settings"]), Plan(**values["plan"])
        named = values["reference"]
        reference = (named[0], Path(named[1])) if named else None
        return cls(
            **{**values, "engines": engines, "settings": settings, "plan": plan, "reference": reference}
        )


@dataclass(frozen=True)
class TakenTogether:
    """What a process measured: key, round and nanoseconds of each sample in order, and its rounds."""

    samples: tuple[tuple[str, int, float], ...]
    rounds: int
    wrong_rounds: int
    wrong: str
    shared_pct: float
    core_ns: float


@dataclass(frozen=True)
class RoundsDone:
    """How far a process is: rounds, and the seconds that are left of its time."""

    rounds: int
    left_s: float


OnRounds = Callable[[RoundsDone], None]


def take_together(timed: TimedTogether, empty: Path, on_rounds: OnRounds) -> TakenTogether:
    """Time engines in a fresh process whose folder is `empty`.

    BackendError where an engine cannot be opened or brings the process down, OSError where it cannot start.
    """
    backend, out_of_time = timed.backend, []
    with ExitStack() as stack:
        process = stack.enter_context(processes.started(MODULE, timed.text(), folder=empty))

        def stop() -> None:
            out_of_time.append(True)
            processes.end(process)

        watchdog = Timer(timed.seconds + _TIMEOUT_S, stop)
        watchdog.daemon = True
        watchdog.start()
        stack.callback(watchdog.cancel)
        for line in process.stdout or ():
            message = json.loads(line)
            if "done" in message:
                done = message["done"]
                samples = tuple((key, number, taken_ns) for key, number, taken_ns in done["samples"])
                return TakenTogether(**{**done, "samples": samples})
            if what := processes.failure_of(message):
                raise _failed(backend, what)
            processes.raise_reported(message, backend)
            on_rounds(RoundsDone(**message["progress"]))
            processes.acknowledge(process)
        if out_of_time:
            raise _failed(backend, f"was stopped after {timed.seconds + _TIMEOUT_S:.0f} s")
        raise _failed(backend, processes.exit_reason(process, empty))


def _failed(backend: str, what: str) -> BackendError:
    return BackendError(backend, f"the process that times engines {what}: {processes.advice(what)}.")


def main(arguments: Sequence[str]) -> None:
    """The process: one request as JSON."""
    timed = TimedTogether.of(arguments[0])
    processes.serve(lambda send: asdict(_taken(timed, lambda done: send({"progress": asdict(done)}))))


def _taken(timed: TimedTogether, on_rounds: OnRounds) -> TakenTogether:
    with ExitStack() as stack:
        sessions = _open(timed, stack)
        probe = probe_for(timed.backend, timed.settings.all_threads, timed.core_ns)
        backend = get_backend(timed.backend)
        read_gpu = backend.reading if isinstance(backend, ReadsGpu) else GpuReading
        interference = Interference(timed.plan, lambda: take_snapshot(read_gpu, readings(probe)))
        samples, deadline = Samples(), monotonic() + timed.seconds
        outcome = measure(
            sessions,
            dict.fromkeys(sessions, 1),
            samples,
            timed.plan,
            seed=timed.number,
            deadline=deadline,
            on_round=lambda rounds, took_s: on_rounds(RoundsDone(rounds, max(0.0, deadline - monotonic()))),
            interference=interference,
            probe=probe,
        )
    wrong, seen = interference.disturbed.rounds, readings(probe)()
    return TakenTogether(
        tuple((key, number, samples.rounds[key][number]) for key, number in samples.sequence),
        outcome.rounds,
        len(wrong),
        wrong[-1].wrong if wrong else "",
        seen.shared_pct,
        seen.usual_ns,
    )


def _open(timed: TimedTogether, stack: ExitStack) -> dict[str, Session]:
    """All engines and the reference network, each run a few times.

    They are opened in another order in each process: what is opened first may lie in other memory, and be
    slower by 1 to 2 % (docs/measuring.md).
    """
    backend, engines = get_backend(timed.backend), list(timed.engines.items())
    order = np.random.default_rng(timed.number).permutation(len(engines))
    found: dict[str, Any] = {
        key: stack.enter_context(opened(backend, file, timed.settings))
        for key, file in (engines[place] for place in order)
    }
    if timed.reference:
        name, file = timed.reference
        beside = reference_session(file.read_bytes(), timed.backend, timed.settings, stack)
        if beside is not None:
            found[name] = beside
    for session in found.values():
        session.time_ns(_WARM_UP_RUNS)
    return found
