"""Profile a device: time every building block of a space and whole networks, make a certified table.

The distinct cells, the stem and the head are timed alone; whole networks in the same rounds say what
the cells are worth inside a network (`calibrate`) and, others of them, how well that predicts. The
time budget covers everything, building too: a slow machine gets fewer rounds and fewer networks, but
never fewer than a certificate needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import Backend, RunSettings, Session, get_backend
from ponas_deploy.calibrate import LEAST_CHECK, LEAST_FIT, TimedNetwork, certify, correct
from ponas_deploy.devices import memory_mib, read_conditions, this_machine
from ponas_deploy.errors import BackendError, MeasurementError
from ponas_deploy.journal import Journal
from ponas_deploy.measure import Outcome, Plan, Samples, choose_statistic, first_look, is_settled, measure
from ponas_deploy.probes import HEAD, STEM, block_model, blocks_of, network_bytes
from ponas_deploy.spread import divide, spread_networks
from ponas_deploy.tables import Conditions, Grid, LatencyTable, SpaceKey
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


def profile(
    space: Space,
    backend: str | Backend,
    settings: RunSettings | None = None,
    batch: int = 1,
    *,
    device: str = "",
    time_budget_s: float = TIME_BUDGET_S,
    journal: Path | None = None,
    on_progress: OnProgress | None = None,
    seed: int = 0,
    plan: Plan | None = None,
) -> LatencyTable:
    """Measure a space on this machine: corrected grid, isolated cells, certificate, raw rounds.

    `device` names this machine in the table. With `journal` an interrupted profile goes on where it
    was stopped; the file stays until the caller has the table safe. Raises BackendError when the
    runtime is missing or refuses a block, UnknownNameError for an unknown backend or precision,
    MeasurementError when nothing trustworthy came out or the journal cannot be written.
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
    )
    with ExitStack() as stack:
        book = stack.enter_context(Journal(journal, job.header())) if journal else None
        return job.table(job.measured(stack, book))


@dataclass(frozen=True, slots=True)
class _Networks:
    """Whole networks by their text form, in order of cost."""

    fit: tuple[str, ...]
    check: tuple[str, ...]

    def waves(self, size: int) -> tuple[tuple[str, ...], ...]:
        """All of them in groups of at most `size`, each group spread over the range."""
        networks = (*self.fit, *self.check)
        groups = -(-len(networks) // size)
        return tuple(networks[number::groups] for number in range(groups))


@dataclass(frozen=True, slots=True)
class _Measured:
    """Everything the clock said, and how it was asked."""

    samples: Samples
    networks: _Networks
    outcomes: tuple[Outcome, ...]
    notes: tuple[tuple[str, str], ...]


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
        return {
            "space": SpaceKey.of(self.space).document(),
            "conditions": self.conditions.document(),
            "environment": dict(self.environment()),
            "protocol": {**dict(self.plan.document()), "seed": str(self.seed)},
        }

    def measured(self, stack: ExitStack, book: Journal | None) -> _Measured:
        """Build everything and time it, in waves where the memory does not hold all networks at once."""
        before = read_conditions().conditions()
        samples, networks = _recovered(book)
        note = book.note if book else ""
        blocks = self._load_blocks(stack, note)
        trial = self._trial()
        if networks is None:
            networks = self._choose_networks(trial)
            if book:
                book.append({"fit": networks.fit, "check": networks.check})
        waves = networks.waves(_wave_size(trial.model_bytes))
        outcomes = tuple(self._wave(number, waves, blocks, samples, book) for number in range(len(waves)))
        after = read_conditions().conditions()
        notes = (
            *((f"{name}_at_start", value) for name, value in before),
            *((f"{name}_at_end", value) for name, value in after),
            *((("journal", note),) if note else ()),
        )
        return _Measured(samples, networks, outcomes, notes)

    def _load_blocks(self, stack: ExitStack, note: str) -> dict[str, Session]:
        """Sessions of all cells, stem and head, with a first look at how long each takes."""
        blocks, sessions = blocks_of(self.space), dict[str, Session]()
        for done, (key, block) in enumerate(blocks.items()):
            self._tell("build", done, len(blocks), note or f"building block {key}")
            sessions[key] = stack.enter_context(self._load(key, block_model(key, block, self.batch)))
            self.runs[key], self.rough_ns[key] = first_look(sessions[key], self.plan)
        return sessions

    def _rough_costs(self) -> list[NDArray[np.float64]]:
        return [np.array([self.rough_ns[cell.key] for cell in row]) for row in self.space.cells()]

    def _trial(self) -> _Trial:
        (middle,) = spread_networks(self._rough_costs(), 1, self.seed)
        start = time.monotonic()
        model = network_bytes(Architecture.from_indices(self.space, middle), self.batch)
        with self._load("a network", model) as session:
            build_s = time.monotonic() - start
            return _Trial(len(model), build_s, first_look(session, self.plan)[1] / 1e9)

    def _choose_networks(self, trial: _Trial) -> _Networks:
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
        return _Networks(fit, check)

    def _wave(
        self,
        number: int,
        waves: tuple[tuple[str, ...], ...],
        blocks: Mapping[str, Session],
        samples: Samples,
        book: Journal | None,
    ) -> Outcome:
        """Build a group of networks and measure it among all blocks, in its share of the time left."""
        wave = waves[number]
        with ExitStack() as stack:
            sessions = dict(blocks)
            for done, text in enumerate(wave):
                self._tell("build", done, len(wave), f"building network {done + 1} of {len(wave)}")
                model = network_bytes(Architecture(self.space, tuple(text.split(","))), self.batch)
                sessions[text] = stack.enter_context(self._load(f"network {text}", model))
                self.runs[text], self.rough_ns[text] = first_look(sessions[text], self.plan)
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

    def _load(self, what: str, model: bytes) -> Session:
        try:
            return self.backend.load(model, self.settings)
        except BackendError as error:
            raise BackendError(self.backend.name, f"{what} was refused ({error})") from error

    def table(self, measured: _Measured) -> LatencyTable:
        """Choose the statistic, correct the cells, certify the result."""
        self._tell("fit", 0, 1, "fitting the table")
        samples, space = measured.samples, self.space
        fit, check = (
            tuple(TimedNetwork(tuple(text.split(",")), samples.measurement(text)) for text in texts)
            for texts in (measured.networks.fit, measured.networks.check)
        )
        statistic = choose_statistic([net.measurement for net in (*fit, *check)])
        isolated = _isolated(space, samples, statistic)
        grid, correction = correct(isolated, space.cells(), fit, statistic)
        measurements = tuple((key, samples.measurement(key)) for key in blocks_of(space))
        table = LatencyTable(
            grid=grid,
            isolated=isolated,
            space=SpaceKey.of(space),
            conditions=self.conditions,
            intervals_ms=_intervals(space, samples, statistic, isolated, grid),
            statistic=statistic,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            environment=self.environment(),
            protocol=self._protocol(measured),
            cell_keys=tuple(tuple(cell.key for cell in row) for row in space.cells()),
            measurements=measurements,
            correction=correction,
            certificate=certify(grid, isolated, check, statistic),
            unsettled=tuple(key for key, m in measurements if not is_settled(m, self.plan, statistic)),
        )
        self._tell("fit", 1, 1, "done", 0.0)
        return table

    def _protocol(self, measured: _Measured) -> tuple[tuple[str, str], ...]:
        return (
            *self.plan.document(),
            ("seed", str(self.seed)),
            ("weights", "random"),
            ("rounds", "+".join(str(outcome.rounds) for outcome in measured.outcomes)),
            ("stopped_by", measured.outcomes[-1].reason),
            ("redone_visits", str(sum(outcome.redone_visits for outcome in measured.outcomes))),
            *measured.notes,
        )


def _recovered(book: Journal | None) -> tuple[Samples, _Networks | None]:
    """What an interrupted profile has measured, and which networks it chose; from now on all is journaled."""
    samples, networks = Samples(), None
    if book is None:
        return samples, networks
    for entry in book.entries:
        if "fit" in entry:
            networks = _Networks(tuple(entry["fit"]), tuple(entry["check"]))
        else:
            samples.add(entry["key"], entry["round"], entry["runs"], entry["ns"])
    samples.on_sample = lambda key, number, runs, run_ns: book.append(
        {"key": key, "round": number, "runs": runs, "ns": run_ns}
    )
    return samples, networks


def _wave_size(model_bytes: int) -> int:
    """How many whole networks the memory holds at once."""
    free = _MEMORY_SHARE * memory_mib("available") * (1 << 20)
    return max(_LEAST_WAVE, int(free / (_SESSION_BYTES * model_bytes)))


def _isolated(space: Space, samples: Samples, statistic: str) -> Grid:
    def value(key: str) -> float:
        return samples.measurement(key).value_ms(statistic)

    return Grid(
        tuple(layer.name for layer in space.layers),
        space.labels,
        tuple(tuple(value(cell.key) for cell in row) for row in space.cells()),
        value(STEM) + value(HEAD),
    )


def _intervals(
    space: Space, samples: Samples, statistic: str, isolated: Grid, grid: Grid
) -> tuple[tuple[tuple[float, float], ...], ...]:
    """The isolated cells' intervals, scaled as their values were by the correction."""

    def scaled(key: str, before: float, after: float) -> tuple[float, float]:
        low, high = samples.measurement(key).interval_ms(statistic)
        return low * after / before, high * after / before

    return tuple(
        tuple(scaled(cell.key, before, after) for cell, before, after in zip(row, old, new, strict=True))
        for row, old, new in zip(space.cells(), isolated.values, grid.values, strict=True)
    )
