"""Time many engines of one runtime in the same rounds, so that they can be compared with each other.

In each of a few fresh processes all engines are open, and every round takes a single inference of each in a
new random order, by the protocol of `measuring`: while nobody shares the core, disturbed rounds again, the
machine's level divided out of every sample. What slows all of them alike in one process is divided out too;
what is left between the processes is the noise floor. A small fixed network runs among them (`reference`), so
that there is a level even where few are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from ponas_deploy.backends import RunSettings
from ponas_deploy.engines import reference
from ponas_deploy.engines.timing import PROCESSES
from ponas_deploy.files.scratch import Scratch
from ponas_deploy.machines.advice import doctor_command
from ponas_deploy.measuring import detrend
from ponas_deploy.measuring.engine_process import LEAST_RUNS
from ponas_deploy.measuring.interleaved_process import RoundsDone, TakenTogether, TimedTogether
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.measuring.plans import plan_for
from ponas_deploy.measuring.protocol import Plan, Samples
from ponas_deploy.profiling.progress import OnProgress, ProfilingProgress
from ponas_deploy.tables.latency import Conditions

SECONDS = 60.0
"""Seconds of rounds where nobody says, in all processes together."""
_MOST_ROUNDS, _FLOOR_ROUNDS = 400, 8


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
    place: Place = HERE,
) -> Interleaved:
    """Time engines of these conditions, by key, in rounds of some `seconds` in all processes together.

    They are of `place`. BackendError where an engine cannot be opened or brings its process down,
    MeasurementError where a process cannot start.
    """
    taken, core_ns = list[TakenTogether](), 0.0
    with Scratch() as folder:
        file = Path(folder) / "reference.onnx"
        if among := reference.serves(conditions.backend):
            file.write_bytes(reference.reference_model())
        for number in range(PROCESSES):
            timed = TimedTogether(
                engines,
                conditions.backend,
                RunSettings(conditions.precision, conditions.threads, conditions.streams),
                _plan(conditions.backend),
                seconds / PROCESSES,
                number,
                core_ns,
                (reference.NAME, file) if among else None,
            )
            taken.append(place.take_together(timed, partial(_report, timed, on_progress)))
            core_ns = min(filter(None, (core_ns, taken[-1].core_ns)), default=0.0)
    each = [_medians_ms(one) for one in taken]
    wrong, rounds = sum(one.wrong_rounds for one in taken), sum(one.rounds for one in taken)
    because = next((one.wrong for one in reversed(taken) if one.wrong), "")
    return Interleaved(
        {key: tuple(medians[key] for medians in each) for key in each[0]},
        rounds,
        sum(one.shared_pct for one in taken) / len(taken),
        f"{wrong} of {rounds} rounds were disturbed ({because}): {doctor_command(conditions.device)} says"
        " what to do; then compare again."
        if wrong
        else "",
    )


def _medians_ms(taken: TakenTogether) -> dict[str, float]:
    """The medians of a process by key, the machine's level divided out of every sample."""
    samples = Samples()
    for key, number, run_ns in taken.samples:
        samples.add(key, number, 1, run_ns)
    return {key: one.value_ms("median") for key, one in detrend.measurements(samples).items()}


def _plan(backend: str) -> Plan:
    """Single inferences, as engines are timed."""
    return replace(
        plan_for(backend),
        sample_ns=1,
        min_rounds=LEAST_RUNS,
        max_rounds=_MOST_ROUNDS,
        floor_rounds=_FLOOR_ROUNDS,
    )


def _report(timed: TimedTogether, on_progress: OnProgress | None, done: RoundsDone) -> None:
    if on_progress is None:
        return
    processes_left = PROCESSES - 1 - timed.number
    part = 1 - done.left_s / timed.seconds if timed.seconds else 1.0
    on_progress(
        ProfilingProgress(
            "measure",
            round(100 * (timed.number + part)),
            100 * PROCESSES,
            done.left_s + processes_left * timed.seconds,
            f"process {timed.number + 1} of {PROCESSES}, round {done.rounds}",
        )
    )
