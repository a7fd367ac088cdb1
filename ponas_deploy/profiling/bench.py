"""The bench of a profile: builds models through one runtime, runs each a few times, reports how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from ponas_deploy.backends import Backend, ReportsProgress, RunSettings, Session, registry
from ponas_deploy.backends.progress import BuildProgress
from ponas_deploy.backends.protocol import ReadsGpu, StartsProcesses, TellsGpuMemory
from ponas_deploy.backends.streams import loaded
from ponas_deploy.errors import BackendError, MeasurementError
from ponas_deploy.machines.conditions import read_conditions
from ponas_deploy.machines.machine import memory_mib, this_machine
from ponas_deploy.machines.nvidia import GpuReading
from ponas_deploy.measuring.affordable import NetworkTrial
from ponas_deploy.measuring.build_together import build_together, builders_for
from ponas_deploy.measuring.contention import ContentionProbe, probe_for, readings
from ponas_deploy.measuring.interference import Interference, take_snapshot
from ponas_deploy.measuring.protocol import Plan, Samples, TakesRounds, first_estimate
from ponas_deploy.profiling.build_time import Builds, BuildTimes
from ponas_deploy.profiling.models import (
    Block,
    block_model,
    blocks_of,
    least_bytes,
    network_bytes,
    working_bytes,
)
from ponas_deploy.profiling.overtime import overtime_note, refuse_overtime
from ponas_deploy.profiling.progress import BUILDING, OnProgress, OnStep, ProfilingProgress
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.rounds import Round
from searchspace.architecture import Architecture
from searchspace.space import Space, is_network

FULL_WIDTH = ("fp32", "tf32")
"""Precisions whose values take four bytes; those of the others take two at most."""
_GIB = 1 << 30
_LONG_S = 20.0
"""Building that takes longer than this is said how long beforehand."""
_TELLING_BUILDS = 16
"""From so many on an estimate says whether the time can be kept."""
_REPORTED_EVERY_S = 2.0
"""Runtimes that pick kernels by timing them take many small steps; a report of each takes time from them."""


@dataclass(slots=True)
class Bench:
    """What a space is built and timed on. `deadline` is in seconds of time.monotonic.

    `runs` and `rough_ns` hold, by key, what the first runs showed: runs of a sample, nanoseconds a run.
    `built_before` is what models took to build in an earlier profile; `visit_s` is the least that a visit
    takes where each one starts a process. For the processor several models are built at once, unless
    `one_at_a_time`, so that whoever brings the process down is known. `asked_s` is the time that was asked
    for, which may be more than is left of it. `memory_failures` is how many processes got no memory before.
    """

    space: Space
    backend: Backend
    settings: RunSettings
    batch: int
    device: str
    plan: Plan
    deadline: float
    on_progress: OnProgress
    on_step: OnStep
    runs: dict[str, int] = field(default_factory=dict)
    rough_ns: dict[str, float] = field(default_factory=dict)
    built_before: BuildTimes | None = None
    builds: Builds = field(init=False)
    visit_s: float = 0.0
    one_at_a_time: bool = False
    memory_failures: int = 0
    asked_s: float = 0.0
    probe: ContentionProbe | None = None
    _reported: ProfilingProgress | None = None
    """What was reported last, and when (time.monotonic)."""
    _reported_s: float = 0.0
    _said_overtime: bool = False

    def __post_init__(self) -> None:
        self.builds = Builds(len(self.space.layers), self.built_before)
        self.probe_core()
        if isinstance(self.backend, ReportsProgress):
            self.backend.on_progress = self._inside

    def probe_core(self, known_ns: float = 0.0) -> None:
        """Probe the core from now on; `known_ns` as in `ContentionProbe`, where earlier rounds say it."""
        self.probe = probe_for(self.backend.name, self.settings.all_threads, known_ns)

    def interference(self, rounds: Iterable[Round] = ()) -> Interference:
        """What notices the interference in rounds that are measured here; `rounds` are those of before."""
        read_gpu = self.backend.reading if isinstance(self.backend, ReadsGpu) else GpuReading
        read_core = readings(self.probe)
        return Interference(self.plan, lambda: take_snapshot(read_gpu, read_core), rounds)

    @property
    def board(self) -> str:
        """The name of the board that it is; empty for this machine, whatever its tables shall be called."""
        return ""

    @property
    def conditions(self) -> Conditions:
        """What the latencies that come out are latencies of."""
        settings = self.settings
        return Conditions(
            self.device,
            self.backend.name,
            settings.precision,
            settings.threads,
            self.batch,
            settings.streams,
        )

    @property
    def left_s(self) -> float:
        """Seconds to the deadline, below zero after it."""
        return self.deadline - time.monotonic()

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Machine and runtime, as (name, value)."""
        return (*this_machine().environment(), *self.backend.environment())

    def machine_now(self) -> tuple[tuple[str, str], ...]:
        """What the machine works under now, as (name, value)."""
        return read_conditions().conditions()

    def free_mib(self) -> int:
        """What is free of its memory now, in MiB."""
        return memory_mib("available")

    def free_gpu_bytes(self) -> int | None:
        """What is free of its GPU's memory now; None where networks take none, or nothing tells it."""
        return self.backend.free_gpu_bytes() if isinstance(self.backend, TellsGpuMemory) else None

    def wave_size(self, trial: NetworkTrial) -> int:
        """How many whole networks fit at once, after one of them and among all blocks that are open."""
        return trial.wave_size(self.free_mib(), self.free_gpu_bytes(), self.memory_failures)

    def taker(self, samples: Samples, sentinel: str | None = None) -> TakesRounds | None:
        """What takes rounds into `samples`, where that is not this process."""
        return None

    def blocks(self, stack: ExitStack, note: str) -> dict[str, Session]:
        """Sessions of all cells, stem and head, and roughly how long each takes.

        MeasurementError where the GPU's memory cannot hold them.
        """
        blocks = blocks_of(self.space)
        self._refuse_too_large(blocks)
        self.builds.blocks_left = len(blocks)
        models = {
            key: partial(block_model, key, block, self.batch, self.space.name)
            for key, block in blocks.items()
        }
        return self._ready(stack, models, lambda number, key: note or f"building block {key}")

    def _refuse_too_large(self, blocks: Mapping[str, Block]) -> None:
        """Before any is built: they stay open side by side, and building them may take an hour."""
        free, value_bytes = self.free_gpu_bytes(), 4 if self.settings.precision in FULL_WIDTH else 2
        least = sum(least_bytes(ops, shape, self.batch, value_bytes) for ops, shape in blocks.values())
        if free is not None and least > free:
            raise MeasurementError(
                f"the {len(blocks)} blocks take {least / _GIB:.1f} GiB of the GPU's memory at batch"
                f" {self.batch}, at least, and {free / _GIB:.1f} GiB are free: ask for a smaller --batch, end"
                " what else uses the GPU, or take --prior TABLE, which builds no blocks."
            )

    def networks(self, stack: ExitStack, texts: Sequence[str]) -> dict[str, Session]:
        """Sessions of whole networks, by their text form."""
        self.builds.networks_left = max(self.builds.networks_left, len(texts))
        found = {text: Architecture.from_text(self.space, text) for text in texts}
        models = {text: partial(network_bytes, network, self.batch) for text, network in found.items()}
        return self._ready(stack, models, lambda number, key: f"building network {number} of {len(texts)}")

    def trial(self, indices: Sequence[int]) -> NetworkTrial:
        """Build and run one network, by candidate index."""
        architecture = Architecture.from_indices(self.space, indices)
        self.building("building a network to see what they take")
        build_s, free = list[float](), self.free_gpu_bytes()
        with ExitStack() as stack:
            # Where that takes little time it is done twice: something may have shared the core.
            for _ in range(min(self._builders, 2)):
                start = time.monotonic()
                model = network_bytes(architecture, self.batch)
                made_s = time.monotonic() - start
                self.on_step(f"{BUILDING}{_named(architecture.text)}")
                session = stack.enter_context(self._built(architecture.text, partial(bytes, model)))
                built_s = time.monotonic() - start
                # Making the model is Python's work, which no two threads do at once.
                build_s.append(max(made_s, built_s / self._builders))
            self.builds.add(built_s, network=True)
            self.running(architecture.text)
            run_s = self._first_estimate(session)[1] / 1e9
            took = self.trial_took(free, len(build_s))
            held = working_bytes(architecture, self.batch)
            return NetworkTrial(
                len(model), min(build_s), run_s, self.visit_s, held, took, self.settings.streams
            )

    def trial_took(self, free_before: int | None, sessions: int = 1) -> int:
        """What each of the sessions opened since took of the GPU's memory; 0 where that is unknown."""
        now = self.free_gpu_bytes()
        return 0 if free_before is None or now is None else max(0, free_before - now) // sessions

    def building(self, text: str) -> None:
        """Say which model is built next, and what all that is to be built will take where that is long."""
        builds, found = self.builds, self.builds.estimate()
        if found and builds.done >= _TELLING_BUILDS:
            # What a network takes is a guess until one was built, and far too much for some runtimes.
            self.keep_time(found.seconds if builds.networks_s else found.blocks * found.each.block_s)
        if found and found.seconds > _LONG_S:
            text = f"{text}; {found.text}"
            builds.keep(found)
        total = builds.done + builds.left
        self.report("build", builds.done, total, text, at_least_s=found.seconds if found else 0.0)

    def keep_time(self, needed_s: float) -> None:
        """Compare what is still needed at least with the time that was asked for.

        It is said once where that is not enough; MeasurementError where it is far from enough, unless the
        runtime searches kernels for each model. Nothing where no time was asked for.
        """
        if not self.asked_s:
            return
        total_s, bounded = (
            self.asked_s - self.left_s + needed_s,
            not registry.searches_kernels(self.backend.name),
        )
        if bounded:
            refuse_overtime(total_s, self.asked_s)
        said = overtime_note(total_s, self.asked_s, bounded=bounded)
        if said and not self._said_overtime:
            self._said_overtime = True
            self.report("build", self.builds.done, self.builds.done + self.builds.left, said, note=said)

    def running(self, key: str) -> None:
        """Say which session is run next."""
        self.on_step(f"running {_named(key)}")

    def report(
        self,
        stage: str,
        done: int,
        total: int,
        text: str,
        *,
        at_least_s: float = 0.0,
        at_most_s: float = float("inf"),
        note: str = "",
    ) -> None:
        """Report how far it is, and how many seconds are left: those to the deadline, within these bounds.

        A `note` is said once.
        """
        left_s = max(at_least_s, min(self.left_s, at_most_s))
        self._reported = ProfilingProgress(stage, done, total, left_s, text)
        self._reported_s = time.monotonic()
        self.on_progress(replace(self._reported, note=note))

    def _inside(self, build: BuildProgress) -> None:
        """Report from time to time how far the model is that takes long: the watchdog waits for that too."""
        now_s = time.monotonic()
        if self._reported and now_s - self._reported_s > _REPORTED_EVERY_S:
            self._reported_s = now_s
            self.on_progress(replace(self._reported, text=f"{self._reported.text}, {build.text}"))

    def _ready(
        self, stack: ExitStack, models: Mapping[str, Callable[[], bytes]], text: Callable[[int, str], str]
    ) -> dict[str, Session]:
        """Sessions of models, each run a few times when all are built, to know how long it takes.

        `text` says what is built next, of its number (from 1) and its key.
        """
        sessions, places = dict[str, Session](), {key: number for number, key in enumerate(models, start=1)}

        def begins(keys: Sequence[str]) -> None:
            self.building(text(places[keys[-1]], keys[-1]))
            self.on_step(BUILDING + " and ".join(map(_named, keys)))

        def built(key: str, session: Session, seconds: float) -> None:
            sessions[key] = stack.enter_context(session)
            self.builds.add(seconds, network=is_network(key))

        builds = {key: partial(self._built, key, model) for key, model in models.items()}
        build_together(builds, self._builders, begins, built)
        for key, session in sessions.items():
            self.running(key)
            self.runs[key], self.rough_ns[key] = self._first_estimate(session)
            if isinstance(session, StartsProcesses):
                self.visit_s = max(self.visit_s, session.visit_s)
        return sessions

    def _first_estimate(self, session: Session) -> tuple[int, float]:
        """`first_estimate` while nobody shares the core: how many networks fit depends on it."""

        def estimate() -> tuple[int, float]:
            return first_estimate(session, self.plan)

        return self.probe.take_quiet(estimate)[0] if self.probe else estimate()

    @property
    def _builders(self) -> int:
        """How many models are built at once."""
        return builders_for(self.backend.name, one_at_a_time=self.one_at_a_time)

    def _built(self, key: str, model: Callable[[], bytes]) -> Session:
        try:
            return loaded(self.backend, model(), self.settings)
        except BackendError as error:
            raise BackendError(self.backend.name, f"{_named(key)} was refused ({error})") from error


def _named(key: str) -> str:
    return f"network {key}" if is_network(key) else f"block {key}"
