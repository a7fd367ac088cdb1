"""Profile a device: time every building block of a space and whole networks, make a certified table.

The distinct cells, the stem and the head are timed alone; whole networks in the same rounds say what
the cells are worth inside a network (`calibrate`) and, others of them, how well that predicts. The
time budget covers everything, building too: a slow machine gets fewer rounds and fewer networks, but
never fewer than a certificate needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.assemble import Networks, assemble
from ponas_deploy.backends import Backend, RunSettings, Session, get_backend
from ponas_deploy.calibrate import LEAST_CHECK, LEAST_FIT
from ponas_deploy.devices import memory_mib, read_conditions, this_machine
from ponas_deploy.errors import BackendError, MeasurementError
from ponas_deploy.journal import Journal
from ponas_deploy.measure import Outcome, Plan, Samples, first_look, measure
from ponas_deploy.nvidia import GpuReading
from ponas_deploy.probes import block_model, blocks_of, network_bytes
from ponas_deploy.records import write_bytes
from ponas_deploy.reopen import entries_of, header
from ponas_deploy.spread import divide, spread_networks
from ponas_deploy.tables import Conditions, LatencyTable, SpaceKey
from ponas_deploy.weather import Round, Weather, look_around
from searchspace.architecture import Architecture
from searchspace.space import Space

TIME_BUDGET_S = 75.0
MOST_FIT, MOST_CHECK = 48, 40
_WANTED_ROUNDS = 16
_FIT_S = 1.5
"""Kept free at the end, to fit the table."""
_ROUNDS_A_WAVE = 10_000
# A session was seen to hold 3.4 times the bytes of its model (ONNX Runtime), and networks differ in size.
_SESSION_BYTES, _MEMORY_SHARE, _LEAST_WAVE = 5, 0.6, 4


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a profile is: `done` of `total` in a stage ("build", "measure", "fit").

    `seconds_left` is to the end of the profile, not of the stage.
    """

    stage: str
    done: int
    total: int
    seconds_left: float
    text: str


OnProgress = Callable[[Progress], None]
OnStep = Callable[[str], None]
"""Hears what is about to be built or run, before it is."""


def profile(
    space: Space,
    backend: str | Backend,
    settings: RunSettings | None = None,
    batch: int = 1,
    *,
    device: str = "",
    time_budget_s: float = TIME_BUDGET_S,
    journal: Path | None = None,
    further: LatencyTable | None = None,
    on_progress: OnProgress | None = None,
    on_step: OnStep | None = None,
    seed: int = 0,
    plan: Plan | None = None,
) -> LatencyTable:
    """Measure a space on this machine: corrected grid, isolated cells, certificate, raw rounds.

    `device` names this machine in the table. With `journal` an interrupted profile goes on where it
    was stopped; the file stays until the caller has the table safe. Rounds are added to those of a table
    `further`, by way of the journal. `on_step` hears what is about to be built or run. Raises BackendError
    when the runtime is missing or refuses a block, UnknownNameError for an unknown backend or precision,
    TableMismatchError when `further` was measured otherwise, MeasurementError when nothing trustworthy came
    out or the journal cannot be written.
    """
    if batch < 1:
        raise MeasurementError(f"batch {batch} was asked for: ask for 1 or more.")
    job = _Job(
        space=space,
        backend=get_backend(backend) if isinstance(backend, str) else backend,
        settings=settings or RunSettings(),
        batch=batch,
        device=device or this_machine().name,
        plan=plan or Plan(),
        seed=seed,
        deadline=time.monotonic() + time_budget_s,
        on_progress=on_progress or (lambda progress: None),
        on_step=on_step or (lambda step: None),
    )
    if further and not journal:
        raise MeasurementError("rounds are added to a table by way of a journal: name a file for it.")
    if further and journal and not journal.exists():
        entries = entries_of(further, job.header())
        write_bytes(journal, Journal.text(job.header(), entries).encode())
    with ExitStack() as stack:
        book = stack.enter_context(Journal(journal, job.header())) if journal else None
        return job.table(stack, book)


@dataclass(frozen=True, slots=True)
class _Trial:
    """One network built to see what networks take: bytes of its model, seconds to build, to run once."""

    model_bytes: int
    build_s: float
    run_s: float


@dataclass(slots=True)
class _Job:
    """One profile: what is asked for, and the steps to it."""

    space: Space
    backend: Backend
    settings: RunSettings
    batch: int
    device: str
    plan: Plan
    seed: int
    deadline: float
    on_progress: OnProgress
    on_step: OnStep
    runs: dict[str, int] = field(default_factory=dict)
    rough_ns: dict[str, float] = field(default_factory=dict)

    @property
    def conditions(self) -> Conditions:
        settings = self.settings
        return Conditions(self.device, self.backend.name, settings.precision, settings.threads, self.batch)

    def environment(self) -> tuple[tuple[str, str], ...]:
        return (*this_machine().environment(), *self.backend.environment())

    def header(self) -> dict[str, Any]:
        """What a journal must have been written for to be continued."""
        return header(SpaceKey.of(self.space), self.conditions, self.environment(), self.plan, self.seed)

    def table(self, stack: ExitStack, book: Journal | None) -> LatencyTable:
        """Build everything and time it, in waves where the memory does not hold all networks at once."""
        before = read_conditions().conditions()
        note = book.note if book else ""
        samples, networks, weather = self._recovered(book)
        blocks = self._load_blocks(stack, note)
        trial = self._trial()
        if networks is None:
            networks = self._choose_networks(trial)
            if book:
                book.append({"fit": networks.fit, "check": networks.check})
        waves = networks.waves(_wave_size(trial.model_bytes))
        outcomes = [self._wave(number, waves, blocks, samples, weather, book) for number in range(len(waves))]
        after = read_conditions().conditions()
        self._tell("fit", 0, 1, "fitting the table")
        self.on_step("fitting the table")
        protocol = (
            *self._protocol(outcomes),
            *((f"{name}_at_start", value) for name, value in before),
            *((f"{name}_at_end", value) for name, value in after),
            *weather.summary(),
            *((("journal", note),) if note else ()),
        )
        table = assemble(
            self.space,
            self.conditions,
            samples,
            networks,
            self.plan,
            environment=self.environment(),
            protocol=protocol,
        )
        self._tell("fit", 1, 1, "done", 0.0)
        return table

    def _recovered(self, book: Journal | None) -> tuple[Samples, Networks | None, Weather]:
        """What an interrupted profile has measured and chosen; from now on everything is journaled."""
        samples, networks, rounds = Samples(), None, list[Round]()
        for entry in book.entries if book else ():
            if "fit" in entry:
                networks = Networks(tuple(entry["fit"]), tuple(entry["check"]))
            elif "weather" in entry:
                rounds.append(Round.from_document(entry["weather"]))
            else:
                samples.add(entry["key"], entry["round"], entry["runs"], entry["ns"])
        # A runtime on a GPU knows which one it reads.
        read_gpu: Callable[[], GpuReading] = getattr(self.backend, "reading", GpuReading)
        weather = Weather(self.plan, lambda: look_around(read_gpu), rounds)
        if book:
            samples.on_sample = lambda key, number, runs, run_ns: book.append(
                {"key": key, "round": number, "runs": runs, "ns": run_ns}
            )
            weather.on_round = lambda one: book.append({"weather": one.document()})
        return samples, networks, weather

    def _load_blocks(self, stack: ExitStack, note: str) -> dict[str, Session]:
        """Sessions of all cells, stem and head, with a first look at how long each takes."""
        blocks, sessions = blocks_of(self.space), dict[str, Session]()
        for done, (key, block) in enumerate(blocks.items()):
            self._tell("build", done, len(blocks), note or f"building block {key}")
            sessions[key] = self._ready(stack, key, partial(block_model, key, block, self.batch))
        return sessions

    def _rough_costs(self) -> list[NDArray[np.float64]]:
        return [np.array([self.rough_ns[cell.key] for cell in row]) for row in self.space.cells()]

    def _trial(self) -> _Trial:
        (middle,) = spread_networks(self._rough_costs(), 1, self.seed)
        architecture = Architecture.from_indices(self.space, middle)
        start = time.monotonic()
        model = network_bytes(architecture, self.batch)
        with ExitStack() as stack:
            session = self._load(stack, architecture.text, lambda: model)
            build_s = time.monotonic() - start
            return _Trial(len(model), build_s, first_look(session, self.plan)[1] / 1e9)

    def _choose_networks(self, trial: _Trial) -> Networks:
        """As many whole networks as the time allows, half of them to fit on and half to check with."""
        costs = self._rough_costs()
        blocks_s = sum(2 * max(self.plan.sample_ns, 2 * took_ns) / 1e9 for took_ns in self.rough_ns.values())
        left_s = self.deadline - time.monotonic() - _WANTED_ROUNDS * blocks_s
        affordable = left_s / (trial.build_s + _WANTED_ROUNDS * 2.2 * trial.run_s)
        count = int(np.clip(affordable, LEAST_FIT + LEAST_CHECK, MOST_FIT + MOST_CHECK))
        spread = spread_networks(costs, count, self.seed)
        texts = [Architecture.from_indices(self.space, indices).text for indices in spread]
        if len(texts) < LEAST_FIT + LEAST_CHECK:
            raise MeasurementError(
                f"space '{self.space.name}' has too few networks to certify a table: {len(texts)} were found,"
                f" {LEAST_FIT + LEAST_CHECK} are needed."
            )
        checks = divide(len(texts), LEAST_FIT, LEAST_CHECK, MOST_CHECK)
        fit, check = (
            tuple(text for text, is_check in zip(texts, checks, strict=True) if is_check == wanted)
            for wanted in (False, True)
        )
        return Networks(fit, check)

    def _wave(
        self,
        number: int,
        waves: tuple[tuple[str, ...], ...],
        blocks: Mapping[str, Session],
        samples: Samples,
        weather: Weather,
        book: Journal | None,
    ) -> Outcome:
        """Build a group of networks and measure it among all blocks, in its share of the time left."""
        wave = waves[number]
        with ExitStack() as stack:
            sessions = dict(blocks)
            for done, text in enumerate(wave):
                self._tell("build", done, len(wave), f"building network {done + 1} of {len(wave)}")
                architecture = Architecture(self.space, tuple(text.split(",")))
                sessions[text] = self._ready(stack, text, partial(network_bytes, architecture, self.batch))
            now = time.monotonic()
            return measure(
                sessions,
                {**self.runs, **samples.runs},
                samples,
                self.plan,
                seed=self.seed,
                sentinel=wave[len(wave) // 2],
                deadline=now + (self.deadline - _FIT_S - now) / (len(waves) - number),
                first_round=number * _ROUNDS_A_WAVE,
                on_round=lambda rounds, took_s: self._after_round(book, number, len(waves), rounds, took_s),
                on_visit=lambda key: self.on_step(f"running {_named(key)}"),
                watch=weather,
            )

    def _after_round(self, book: Journal | None, wave: int, waves: int, rounds: int, took_s: float) -> None:
        if book:
            book.sync()
        most = self.plan.max_rounds
        done, total = wave * most + rounds, waves * most
        self._tell("measure", done, total, f"round {rounds} of {most} at most", (total - done) * took_s)

    def _tell(self, stage: str, done: int, total: int, text: str, at_most_s: float = float("inf")) -> None:
        left_s = max(0.0, min(self.deadline - time.monotonic(), at_most_s))
        self.on_progress(Progress(stage, done, total, left_s, text))

    def _ready(self, stack: ExitStack, key: str, model: Callable[[], bytes]) -> Session:
        """A session that was run a few times, to know how long it takes."""
        session = self._load(stack, key, model)
        self.runs[key], self.rough_ns[key] = first_look(session, self.plan)
        return session

    def _load(self, stack: ExitStack, key: str, model: Callable[[], bytes]) -> Session:
        self.on_step(f"building {_named(key)}")
        try:
            session = stack.enter_context(self.backend.load(model(), self.settings))
        except BackendError as error:
            raise BackendError(self.backend.name, f"{_named(key)} was refused ({error})") from error
        self.on_step(f"running {_named(key)}")
        return session

    def _protocol(self, outcomes: Sequence[Outcome]) -> tuple[tuple[str, str], ...]:
        return (
            *self.plan.document(),
            ("seed", str(self.seed)),
            ("weights", "random"),
            ("rounds", "+".join(str(outcome.rounds) for outcome in outcomes)),
            ("stopped_by", outcomes[-1].reason),
            ("redone_visits", str(sum(outcome.redone_visits for outcome in outcomes))),
        )


def _named(key: str) -> str:
    return f"network {key}" if "," in key else f"block {key}"


def _wave_size(model_bytes: int) -> int:
    """How many whole networks the memory holds at once."""
    free = _MEMORY_SHARE * memory_mib("available") * (1 << 20)
    return max(_LEAST_WAVE, int(free / (_SESSION_BYTES * model_bytes)))
