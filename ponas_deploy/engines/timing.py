"""Time an engine in fresh processes (`measuring.engine_process`), and what comes of it.

Each run is timed on its own, so that percentiles are those of single inferences. Several processes are
started one after another, because a runtime's speed varies from process to process; how far their medians lie
apart is the noise floor. An inference counts while nobody shares the core (`contention`), a process that
others disturbed is taken again (`interference`), as often as `Retries` says. Seconds say nothing about the
minutes to come: an engine that is to keep a promise is timed again later, and both measurements count as one
(`with_later`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from ponas_deploy.backends import RunSettings
from ponas_deploy.engines import reference
from ponas_deploy.engines.decision import Estimate, middle_of
from ponas_deploy.engines.reference import ReferenceTiming, together
from ponas_deploy.machines.advice import doctor_command
from ponas_deploy.machines.energy import EnergyTaken
from ponas_deploy.machines.process_memory import MemoryTaken
from ponas_deploy.measuring.contention import CoreReading
from ponas_deploy.measuring.engine_process import PLAN, SECONDS, Taken, Timed
from ponas_deploy.measuring.interference import Interference, Round, Snapshot, take_snapshot
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.tables.measurement import quantile

PROCESSES = 3


@dataclass(frozen=True, slots=True)
class EngineTiming:
    """What the clock said: nanoseconds of every single inference, process by process.

    `started_s[i]` is when process i was started, in seconds of a clock of which only differences count; empty
    where it was not recorded. `interference` is what the machine did besides, a round a process, those that
    were taken again among them. `reproducibility_pct` is how far two measurements at two moments are known to
    lie apart on this machine (`quality.reproducibility_pct`). `reference` is what the reference network took
    in the same processes, None where it was not timed. `memory` is that of each process, `energy` what
    inferences took in each; empty where it was not measured, and `no_energy` says why where it was asked
    for. With `back_to_back` each value is the mean of inferences one right after another, as throughput is
    measured.
    """

    processes_ns: tuple[tuple[int, ...], ...]
    started_s: tuple[float, ...] = ()
    interference: tuple[Round, ...] = ()
    reproducibility_pct: float = 0.0
    reference: ReferenceTiming | None = None
    memory: tuple[MemoryTaken, ...] = ()
    energy: tuple[EnergyTaken, ...] = ()
    no_energy: str = ""
    back_to_back: bool = False

    def percentile_ms(self, percent: float) -> float:
        """A percentile of all inferences, in milliseconds."""
        pooled = tuple(float(value) for process in self.processes_ns for value in process)
        return quantile(pooled, percent / 100) / 1e6

    def noise_pct(self, percent: float) -> float:
        """How far two timings of a percentile lie apart: as its processes do, or as the machine's speed.

        Whichever is more: processes within seconds know nothing of the minutes to come.
        """
        return max(self.spread_pct(percent), self.reproducibility_pct)

    def spread_pct(self, percent: float) -> float:
        """How far the processes' own percentiles lie apart, in percent of the smallest."""
        own = self._by_process(percent)
        return 100 * (max(own) / min(own) - 1)

    def deviation(self, percent: float) -> float:
        """The standard deviation of the percentile's logarithm, by how far the processes lie apart.

        From the median of absolute deviations, so that a process that was disturbed does not count.
        """
        return middle_of(self._by_process(percent)).deviation

    def beside_reference(self, percent: float) -> Estimate | None:
        """A percentile over what the reference network took in the same process; None without that.

        What a process met beside it, both met, so that this varies less than either.
        """
        if self.reference is None:
            return None
        pairs = zip(self._by_process(percent), self.reference.processes_ns, strict=True)
        return middle_of([own_ns / reference_ns for own_ns, reference_ns in pairs])

    @property
    def timings(self) -> float:
        """How many measurements this is, at moments of their own."""
        return max(1.0, len(self.processes_ns) / PROCESSES)

    def _by_process(self, percent: float) -> list[float]:
        """A percentile of each process, in nanoseconds."""
        return [quantile(tuple(map(float, process)), percent / 100) for process in self.processes_ns]

    @property
    def noise_floor_pct(self) -> float:
        """The noise of the median."""
        return self.noise_pct(50)

    @property
    def runs(self) -> int:
        """How many inferences were timed."""
        return sum(map(len, self.processes_ns))

    @property
    def span_s(self) -> float:
        """Seconds from the start of the first process to that of the last; 0 where it was not recorded."""
        return max(self.started_s) - min(self.started_s) if self.started_s else 0.0

    @property
    def core_ns(self) -> float:
        """What a fixed piece of arithmetic took while nobody shared the core; 0 where it was not probed."""
        return min((one.core_ns for one in self.interference if one.core_ns), default=0.0)

    @property
    def shared_pct(self) -> float:
        """How many inferences in percent met a shared core, those that were discarded among them."""
        return fmean(one.shared_pct for one in self.interference) if self.interference else 0.0

    def disturbed_on(self, device: str) -> str:
        """A sentence where processes on a device were kept although something was wrong; else empty."""
        kept = [one for one in self.interference if not one.discarded]
        wrong = [one.wrong for one in kept if one.wrong]
        if not wrong:
            return ""
        return (
            f"{len(wrong)} of the {len(kept)} processes that timed the engine were disturbed ({wrong[-1]}):"
            f" {doctor_command(device)} says what to do; then measure again."
        )

    @property
    def last_s(self) -> float:
        """When the last process was started; 0 where it was not recorded."""
        return self.started_s[-1] if self.started_s else 0.0

    def with_later(self, later: EngineTiming) -> EngineTiming:
        """Both measurements of one engine as one: what it takes, and how it varies, over all that time."""
        recorded = bool(self.started_s and later.started_s)
        return EngineTiming(
            (*self.processes_ns, *later.processes_ns),
            (*self.started_s, *later.started_s) if recorded else (),
            (*self.interference, *later.interference),
            max(self.reproducibility_pct, later.reproducibility_pct),
            together(self.reference, later.reference),
            (*self.memory, *later.memory),
            (*self.energy, *later.energy),
            self.no_energy or later.no_energy,
            self.back_to_back,
        )

    def images_per_s(self, batch: int, streams: int = 1) -> float | None:
        """Throughput at the batch and streams that were timed, by the median; None for single inferences."""
        return 1e3 * batch * streams / self.percentile_ms(50) if self.back_to_back else None

    @property
    def most_memory(self) -> MemoryTaken | None:
        """That of the process in which the engine took most; None where it was not measured."""
        return max(self.memory, key=lambda one: one.engine_bytes, default=None)

    @property
    def memory_noise_pct(self) -> float:
        """How far the processes' memory lies apart, in percent of the least."""
        own = [one.engine_bytes for one in self.memory if one.engine_bytes]
        return 100 * (max(own) / min(own) - 1) if own else 0.0

    @property
    def middle_energy(self) -> EnergyTaken | None:
        """That of the process in the middle; None where it was not measured."""
        ordered = sorted(self.energy, key=lambda one: one.mj)
        return ordered[(len(ordered) - 1) // 2] if ordered else None

    @property
    def energy_noise_pct(self) -> float:
        """How far the processes' millijoules an inference lie apart, in percent of the least."""
        own = [one.mj for one in self.energy]
        return 100 * (max(own) / min(own) - 1) if own else 0.0


def time_engine(
    engine: Path,
    backend: str,
    settings: RunSettings,
    core_ns: float = 0.0,
    *,
    seconds: float | None = None,
    place: Place = HERE,
    back_to_back: bool = False,
    energy: bool = False,
) -> EngineTiming:
    """Time an engine in PROCESSES fresh processes of some `seconds` each (SECONDS).

    BackendError when one cannot be started.

    One under wrong conditions is discarded and taken again while that is seldom and helps, one whose core was
    shared for some seconds after the first of them (`Retries`). Two quiet ones are enough then; where any was
    quiet, the contended ones do not count. `core_ns` is what the core's arithmetic takes on this machine
    while nobody shares the core, where that is known. `place` is the machine that it is for. `back_to_back`
    measures throughput in place of single inferences; with `energy` that is read too, where it is counted.
    """
    with TemporaryDirectory() as folder:
        beside = Path(folder) / "reference.onnx" if reference.serves(backend) else None
        if beside:
            beside.write_bytes(reference.reference_model())
        each_s = SECONDS if seconds is None else seconds
        timed = Timed(engine, backend, settings, each_s, core_ns, beside, back_to_back, energy)
        return _in_processes(timed, place)


def _in_processes(timed: Timed, place: Place) -> EngineTiming:
    core_ns = timed.core_ns
    kept, core = list[_Process](), CoreReading(core_ns)
    interference, give_up_s = Interference(PLAN), inf
    while len(kept) < PROCESSES:
        start_s = round(monotonic(), 3)
        before = take_snapshot()
        taken, there = place.take(replace(timed, core_ns=core.usual_ns))
        around = there or (before, take_snapshot())
        earlier, core = core, core + taken.core
        seen = _as_seen_in_process(around, (earlier, core), taken)
        if taken.is_contended:
            give_up_s = min(give_up_s, monotonic() + RETRIES.contended_processes_s)
        in_time = monotonic() < give_up_s
        insist = taken.is_contended and in_time
        if interference.end(len(kept), may_redo=True, insist=insist, seen=seen):
            sleep(RETRIES.process_pause_s)
            continue
        kept.append(_Process(start_s, taken, len(interference.rounds) - 1))
        # What an earlier process took for usual, a later one may know better.
        _discard(kept, interference, [one for one in kept if one.taken.core.shared_by(core.usual_ns)])
        if not in_time and sum(not one.taken.is_contended for one in kept) > 1:
            break
    if not all(one.taken.is_contended for one in kept):
        _discard(kept, interference, [one for one in kept if one.taken.is_contended])
    return EngineTiming(
        tuple(one.taken.runs_ns for one in kept),
        tuple(one.started_s for one in kept),
        tuple(interference.rounds),
        reference=_reference([one.taken for one in kept]),
        memory=tuple(one.taken.memory for one in kept if one.taken.memory),
        energy=tuple(one.taken.energy for one in kept if one.taken.energy),
        no_energy=next((one.taken.no_energy for one in kept), ""),
        back_to_back=timed.back_to_back or timed.settings.streams > 1,
    )


def _as_seen_in_process(
    around: tuple[Snapshot, Snapshot], core: tuple[CoreReading, CoreReading], taken: Taken
) -> tuple[Snapshot, Snapshot]:
    """The machine before and after a process, with its core and its GPU, which that process alone could see.

    When it has ended the GPU idles, at a clock that says nothing of its inferences.
    """
    before, after = (replace(one, core=probed) for one, probed in zip(around, core, strict=True))
    if gpu := taken.gpu:
        before = replace(before, reading=replace(before.reading, gpu_clock=gpu.before))
        after = replace(after, gpu=gpu.reading, reading=replace(after.reading, gpu_clock=gpu.after))
    return before, after


def _reference(kept: Sequence[Taken]) -> ReferenceTiming | None:
    """What the reference network took in these processes; None where one of them has not timed it."""
    if not all(one.reference_ns for one in kept):
        return None
    return ReferenceTiming(reference.NAME, tuple(float(median(one.reference_ns)) for one in kept))


def _discard(kept: list[_Process], interference: Interference, wrong: Sequence[_Process]) -> None:
    """Take back those that turned out to be wrong."""
    for one in wrong:
        interference.discard(one.round, "something shared or slowed the core all the time")
        kept.remove(one)


@dataclass(frozen=True, slots=True)
class _Process:
    """What one process measured, when it was started, and the place of its round."""

    started_s: float
    taken: Taken
    round: int
