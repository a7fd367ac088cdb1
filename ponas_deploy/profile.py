"""Profile a device: time every building block of a space and whole networks, make a certified table.

The distinct cells, the stem and the head are timed alone; whole networks in the same rounds say what
the cells are worth inside a network (`calibrate`) and, others of them, how well that predicts. The
time budget covers everything, building too: a slow machine gets fewer rounds and fewer networks, but
never fewer than a certificate needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import Backend, RunSettings, Session, get_backend
from ponas_deploy.calibrate import LEAST_CHECK, LEAST_FIT, TimedNetwork, certify, correct
from ponas_deploy.devices import memory_mib, read_conditions, this_machine
from ponas_deploy.errors import BackendError, MeasurementError
from ponas_deploy.journal import Journal
from ponas_deploy.measure import Outcome, Plan, Samples, choose_statistic, first_look, measure
from ponas_deploy.spread import divide, spread_networks
from ponas_deploy.tables import Conditions, Grid, LatencyTable, SpaceKey
from searchspace.architecture import Architecture
from searchspace.ops import Op, Parameter, parameters
from searchspace.space import Shape, Space

STEM, HEAD = "stem", "head"
TIME_BUDGET_S = 75.0
MOST_FIT, MOST_CHECK = 48, 40
_WANTED_ROUNDS = 16
_ROUNDS_A_WAVE = 10_000
# A session was seen to hold 3.4 times the bytes of its model (ONNX Runtime), OpenVINO's less.
_SESSION_BYTES, _MEMORY_SHARE, _LEAST_WAVE = 4, 0.6, 4


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a profile is: `done` of `total` in a stage ("build", "measure", "fit")."""

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
    runtime = get_backend(backend) if isinstance(backend, str) else backend
    job = _Job(
        space,
        runtime,
        settings or RunSettings(),
        batch,
        device or this_machine().name,
        plan or Plan(),
        seed,
        time.monotonic() + time_budget_s,
        on_progress or (lambda progress: None),
    )
    with ExitStack() as stack:
        book = stack.enter_context(Journal(journal, job.header())) if journal else None
        return job.table(job.measured(stack, book))


@dataclass(frozen=True, slots=True)
class _Networks:
    """Whole networks by their text form, in order of cost."""

    fit: tuple[str, ...]
    check: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.fit, *self.check)

    @property
    def sentinel(self) -> str:
        """The one in the middle."""
        return self.fit[len(self.fit) // 2]


@dataclass(frozen=True, slots=True)
class _Measured:
    """Everything the clock said, and how it was asked."""

    samples: Samples
    networks: _Networks
    outcomes: tuple[Outcome, ...]
    notes: tuple[tuple[str, str], ...]


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
    report: OnProgress
    runs: dict[str, int] = field(default_factory=dict)
    rough_ns: dict[str, float] = field(default_factory=dict)

    @property
    def conditions(self) -> Conditions:
        return Conditions(
            self.device, self.backend.name, self.settings.precision, self.settings.threads, self.batch
        )

    def header(self) -> dict[str, Any]:
        """What a journal must have been written for to be continued."""
        return {
            "space": SpaceKey.of(self.space).document(),
            "conditions": self.conditions.document(),
            "environment": dict(self.environment()),
            "protocol": {**dict(self.plan.document()), "seed": str(self.seed)},
        }

    def environment(self) -> tuple[tuple[str, str], ...]:
        return (*this_machine().environment(), *self.backend.environment())

    # --- measuring

    def measured(self, stack: ExitStack, book: Journal | None) -> _Measured:
        """Build everything, time it, wave by wave where the memory does not hold all networks."""
        samples, networks = _recovered(book)
        samples.on_sample = _journaling(book)
        before = read_conditions().conditions()
        note = book.note if book else ""
        sessions, model_bytes, build_s = self._blocks(stack, note)
        if networks is None:
            networks = self._choose_networks(build_s)
            if book:
                book.append({"fit": networks.fit, "check": networks.check})
        waves = _waves(networks, _wave_size(model_bytes))
        outcomes = tuple(
            self._wave(number, len(waves), wave, sessions, networks, samples, book)
            for number, wave in enumerate(waves)
        )
        notes = (
            *((f"{name}_at_start", value) for name, value in before),
            *((f"{name}_at_end", value) for name, value in read_conditions().conditions()),
            *((("journal", note),) if note else ()),
        )
        return _Measured(samples, networks, outcomes, notes)

    def _blocks(self, stack: ExitStack, note: str) -> tuple[dict[str, Session], int, float]:
        """Sessions of all cells, stem and head; bytes of a large network and seconds to build it."""
        blocks = _blocks(self.space)
        sessions: dict[str, Session] = {}
        for done, (key, (ops, shape)) in enumerate(blocks.items()):
            self._tell("build", done, len(blocks), note or f"building block {key}")
            session = stack.enter_context(self._load(key, _block_model(key, ops, shape, self.batch)))
            sessions[key] = session
            self.runs[key], self.rough_ns[key] = first_look(session, self.plan)
        start = time.monotonic()
        largest = max(self.space.labels[0]), [costs.argmax() for costs in self._rough_costs()]
        model = _network_model(Architecture.from_indices(self.space, largest[1]), self.batch)
        self._load("the largest network", model).close()
        return sessions, len(model), time.monotonic() - start

    def _rough_costs(self) -> list[NDArray[np.float64]]:
        return [np.array([self.rough_ns[cell.key] for cell in row]) for row in self.space.cells()]

    def _choose_networks(self, build_s: float) -> _Networks:
        costs = self._rough_costs()
        network_s = (
            sum(float(row.mean()) for row in costs) + self.rough_ns[STEM] + self.rough_ns[HEAD]
        ) / 1e9
        round_s = sum(1.5 * max(runs * self.rough_ns[key] / 1e9, 0.0) for key, runs in self.runs.items())
        left = self.deadline - time.monotonic()
        affordable = (left - _WANTED_ROUNDS * round_s) / (build_s + _WANTED_ROUNDS * 2.2 * network_s)
        count = int(np.clip(affordable, LEAST_FIT + LEAST_CHECK, MOST_FIT + MOST_CHECK))
        spread = spread_networks(costs, count, self.seed)
        texts = [Architecture.from_indices(self.space, indices).text for indices in spread]
        checks = divide(len(texts), LEAST_FIT, LEAST_CHECK, MOST_CHECK)
        if sum(checks) < LEAST_CHECK:
            raise MeasurementError(
                f"space '{self.space.name}' has too few networks to certify a table: {len(texts)} were found,"
                f" {LEAST_FIT + LEAST_CHECK} are needed."
            )
        pairs = tuple(zip(texts, checks, strict=True))
        return _Networks(
            tuple(text for text, check in pairs if not check), tuple(text for text, check in pairs if check)
        )

    def _wave(
        self,
        number: int,
        waves: int,
        wave: tuple[str, ...],
        blocks: Mapping[str, Session],
        networks: _Networks,
        samples: Samples,
        book: Journal | None,
    ) -> Outcome:
        """Build some whole networks and measure them among all blocks, in this wave's share of the time."""
        with ExitStack() as stack:
            sessions = dict(blocks)
            for done, text in enumerate(wave):
                self._tell("build", done, len(wave), f"building network {done + 1}")
                architecture = Architecture(self.space, tuple(text.split(",")))
                model = _network_model(architecture, self.batch)
                sessions[text] = stack.enter_context(self._load(f"network {text}", model))
                self.runs[text], self.rough_ns[text] = first_look(sessions[text], self.plan)
            left = self.deadline - time.monotonic()
            return measure(
                sessions,
                {**self.runs, **samples.runs},
                samples,
                self.plan,
                seed=self.seed,
                sentinel=networks.sentinel if networks.sentinel in sessions else wave[len(wave) // 2],
                deadline=time.monotonic() + left / (waves - number),
                first_round=number * _ROUNDS_A_WAVE,
                on_round=lambda rounds, seconds: self._after_round(book, number, waves, rounds, seconds),
            )

    def _after_round(self, book: Journal | None, wave: int, waves: int, rounds: int, seconds: float) -> None:
        if book:
            book.sync()
        most = self.plan.max_rounds
        ahead = ((waves - wave) * most - rounds) * seconds
        total = waves * most
        self._tell("measure", wave * most + rounds, total, f"round {rounds}, at most {most}", ahead)

    def _tell(self, stage: str, done: int, total: int, text: str, seconds: float = float("inf")) -> None:
        left = max(0.0, min(self.deadline - time.monotonic(), seconds))
        self.report(Progress(stage, done, total, left, text))

    def _load(self, what: str, model: bytes) -> Session:
        try:
            return self.backend.load(model, self.settings)
        except BackendError as error:
            raise BackendError(self.backend.name, f"{what} was refused: {error}") from error

    # --- the table

    def table(self, measured: _Measured) -> LatencyTable:
        """Fit and certify."""
        self._tell("fit", 0, 1, "fitting the table")
        samples, cells = measured.samples, self.space.cells()
        fit, check = (
            tuple(TimedNetwork(tuple(text.split(",")), samples.measurement(text)) for text in texts)
            for texts in (measured.networks.fit, measured.networks.check)
        )
        statistic = choose_statistic([net.measurement for net in (*fit, *check)])
        isolated = _isolated(self.space, samples, statistic)
        grid, correction = correct(isolated, cells, fit, statistic)
        keys = tuple(_blocks(self.space))
        table = LatencyTable(
            grid=grid,
            isolated=isolated,
            space=SpaceKey.of(self.space),
            conditions=self.conditions,
            intervals_ms=_intervals(self.space, samples, statistic, isolated, grid),
            statistic=statistic,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            environment=self.environment(),
            protocol=self._protocol(measured),
            cell_keys=tuple(tuple(cell.key for cell in row) for row in cells),
            measurements=tuple((key, samples.measurement(key)) for key in keys),
            correction=correction,
            certificate=certify(grid, isolated, check, statistic),
            unsettled=tuple(key for key in keys if key in measured.outcomes[-1].unsettled),
        )
        self._tell("fit", 1, 1, "done", 0.0)
        return table

    def _protocol(self, measured: _Measured) -> tuple[tuple[str, str], ...]:
        return (
            *self.plan.document(),
            ("seed", str(self.seed)),
            ("rounds", "+".join(str(outcome.rounds) for outcome in measured.outcomes)),
            ("stopped_by", measured.outcomes[-1].reason),
            ("redone_visits", str(sum(outcome.redone_visits for outcome in measured.outcomes))),
            ("weights", "random"),
            *measured.notes,
        )


# --- blocks, networks, models


def _blocks(space: Space) -> dict[str, tuple[tuple[Op, ...], Shape]]:
    """What is timed alone: stem, head and the distinct cells, by key."""
    blocks = {STEM: (space.stem, space.input_shape), HEAD: (space.head, space.layer_shapes()[-1])}
    blocks.update({cell.key: (cell.ops, cell.input_shape) for row in space.cells() for cell in row})
    return blocks


def _block_model(key: str, ops: tuple[Op, ...], shape: Shape, batch: int) -> bytes:
    from searchspace.graph import model

    weights = _quick_weights(parameters(ops, "block"))
    return model([("block", ops)], shape, weights, batch, key).SerializeToString()


def _network_model(architecture: Architecture, batch: int) -> bytes:
    from searchspace.graph import network_model
    from searchspace.weights import network_parameters

    weights = _quick_weights(network_parameters(architecture))
    return network_model(architecture, weights, batch).SerializeToString()


_POOL = np.random.default_rng(0).standard_normal(1 << 12, dtype=np.float32)


def _quick_weights(wanted: Iterator[Parameter]) -> dict[str, NDArray[np.float32]]:
    """He-normal weights repeated from one small pool: a latency needs the size, not the draw."""
    tensors = {}
    for parameter in wanted:
        shape = parameter.shape
        if parameter.role == "weight":
            tensors[parameter.name] = np.resize(_POOL, shape) * np.float32(np.sqrt(2.0 / prod(shape[1:])))
        else:
            value = 1.0 if parameter.role in ("norm_weight", "norm_var") else 0.0
            tensors[parameter.name] = np.full(shape, value, np.float32)
    return tensors


# --- the journal and the waves


def _recovered(book: Journal | None) -> tuple[Samples, _Networks | None]:
    """What an interrupted profile has measured: its samples, and which networks it chose."""
    samples, networks = Samples(), None
    for entry in book.entries if book else ():
        if "fit" in entry:
            networks = _Networks(tuple(entry["fit"]), tuple(entry["check"]))
        else:
            samples.add(entry["key"], entry["round"], entry["runs"], entry["ns"])
    return samples, networks


def _journaling(book: Journal | None) -> Callable[[str, int, int, float], None] | None:
    if book is None:
        return None
    return lambda key, number, runs, run_ns: book.append(
        {"key": key, "round": number, "runs": runs, "ns": round(run_ns, 1)}
    )


def _wave_size(model_bytes: int) -> int:
    """How many whole networks the memory holds at once."""
    free = _MEMORY_SHARE * memory_mib("available") * (1 << 20)
    return max(_LEAST_WAVE, int(free / (_SESSION_BYTES * model_bytes)))


def _waves(networks: _Networks, size: int) -> tuple[tuple[str, ...], ...]:
    """All networks in groups of at most `size`, each spread over the range."""
    groups = -(-len(networks.all) // size)
    return tuple(networks.all[number::groups] for number in range(groups))


# --- the grids


def _isolated(space: Space, samples: Samples, statistic: str) -> Grid:
    def value(key: str) -> float:
        return samples.measurement(key).value_ms(statistic)

    cells = space.cells()
    return Grid(
        tuple(layer.name for layer in space.layers),
        space.labels,
        tuple(tuple(value(cell.key) for cell in row) for row in cells),
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
