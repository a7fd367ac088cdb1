"""From tables and a budget to an engine that was measured to meet it: the loop closes on measurement.

The best network over all tables of a device (one a runtime and precision) is built and timed in fresh
processes. Where the clock disagrees with the table, the residual corrects that table and the search
goes on, until the measured median meets the budget.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from math import exp, inf, log
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import Any

from ponas_deploy.backends import RunSettings, Session, get_backend
from ponas_deploy.devices import this_machine
from ponas_deploy.engines import build, emit, refuse_existing, scratch_beside
from ponas_deploy.errors import BudgetError, MeasurementError, PonasError
from ponas_deploy.genetic import GeneticSettings
from ponas_deploy.manifest import MODEL, Manifest, TableUsed, measured_document
from ponas_deploy.records import sha256, write_bytes
from ponas_deploy.specialize import Budget, Specialization, document, quantity, shortlist, specialize
from ponas_deploy.store import StoredAccuracy, StoredTable
from ponas_deploy.tables import Conditions, LatencyTable, SpaceKey
from ponas_deploy.timing import EngineTiming, time_engine
from ponas_deploy.weights import write_weights
from searchspace.architecture import Architecture
from searchspace.cost import COLUMNS, network_cost
from searchspace.graph import network_model
from searchspace.space import Space
from searchspace.weights import Weights, random_weights

TRIES = 8
PATIENCE_S = 30.0
"""A slow machine builds and times one network in that time."""
# Every miss on a table asks for this much more room than the mean of its residuals.
_CAUTION_PCT = 0.5
_CHANCES = 3


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """Where an engine's weights come from.

    `tensors` gives the weights of any network, quickly, since every attempt is built with them;
    `finish` those of the chosen one, however long that takes (fine-tuning), None for the same.
    `top1_pct` measures the accuracy of an open engine of some batch on the test images that
    `tested_on` names; None where there is nothing to measure.
    """

    description: str
    tensors: Callable[[Architecture], Weights]
    finish: Callable[[Architecture], Weights] | None = None
    top1_pct: Callable[[Session, int], float] | None = None
    tested_on: str = ""


def random_source(seed: int = 0) -> WeightsSource:
    """Weights of a network that was never trained: right for latency, useless for images."""
    return WeightsSource(f"random (seed {seed}), not trained", lambda a: random_weights(a, seed))


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be deployed: the device's tables, the accuracy table, the budget, the space, the weights."""

    tables: tuple[StoredTable, ...]
    accuracy: StoredAccuracy
    budget: Budget
    space: Space
    weights: WeightsSource
    method: str = "exact"
    seed: int = 0
    settings: GeneticSettings | None = None

    def choose(
        self, table: LatencyTable, count: int, budget: Budget | None = None
    ) -> Sequence[Specialization]:
        """The best networks by a table, up to `count`; the genetic algorithm gives one, by `count`'s seed."""
        wanted, accuracy = budget or self.budget, self.accuracy.table
        if self.method == "exact":
            return shortlist(table, accuracy, wanted, count, space=self.space)
        seed = self.seed + count - 1
        return [
            specialize(
                table,
                accuracy,
                wanted,
                space=self.space,
                method=self.method,
                seed=seed,
                settings=self.settings,
            )
        ]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One network that was built and timed, or is about to be (`timing` None).

    `choice.predicted_ms` is what the table says by itself, `expected_ms` with the residuals of the
    attempts before.
    """

    number: int
    stored: StoredTable
    choice: Specialization
    expected_ms: float
    engine_file: str = ""
    timing: EngineTiming | None = None

    @property
    def conditions(self) -> Conditions:
        """Runtime, precision, threads and batch of the attempt."""
        return self.stored.conditions

    @property
    def measured_ms(self) -> float:
        """The measured median in milliseconds."""
        if self.timing is None:
            raise PonasError("this attempt was not measured yet.")
        return self.timing.percentile_ms(50)

    @property
    def meets(self) -> bool:
        """Whether the measured median is at or under the latency budget."""
        limit = self.choice.budget.latency_ms
        return limit is None or self.measured_ms <= limit


@dataclass(frozen=True, slots=True)
class Deployment:
    """The emitted engine and how it was found."""

    folder: Path
    manifest: Manifest
    chosen: Attempt
    attempts: tuple[Attempt, ...]


OnAttempt = Callable[[Attempt], None]


def deploy(
    task: Task,
    folder: Path,
    *,
    tries: int = TRIES,
    patience_s: float = PATIENCE_S,
    overwrite: bool = False,
    on_attempt: OnAttempt | None = None,
) -> Deployment:
    """Search, build, time, correct, until the measurement meets the budget; then emit the engine.

    Once one meets it, a better one is looked for until `patience_s` seconds have passed.
    `on_attempt` is called before and after each attempt's measurement. BudgetError when no network can
    meet the budget, by prediction or after `tries` measurements.
    """
    refuse_existing(folder, overwrite=overwrite)
    report = on_attempt or (lambda attempt: None)
    with scratch_beside(folder) as scratch:

        def measured(attempt: Attempt, tensors: Callable[[Architecture], Weights]) -> Attempt:
            attempt = replace(attempt, number=len(attempts) + 1, timing=None)
            report(attempt)
            done = _measured(attempt, task.space, tensors, scratch / str(attempt.number))
            report(done)
            attempts.append(done)
            return done

        attempts: list[Attempt] = []
        best: Attempt | None = None
        start = monotonic()
        while len(attempts) < tries:
            attempt = _next_attempt(task, attempts)
            if attempt is None or (best and not _better(attempt, best)):
                break
            if best and monotonic() - start > patience_s:
                break
            attempt = measured(attempt, task.weights.tensors)
            best = attempt if attempt.meets else best
        if best is None:
            raise _missed(task.budget, attempts)
        if task.weights.finish:
            best = _finished(best, task, measured, folder)
        source = scratch / str(best.number)
        engine = source / best.engine_file
        manifest = replace(
            _manifest(task, best, len(attempts)), **_on_this_machine(task.weights, best.conditions, engine)
        )
        complete = emit(manifest, folder, lambda to: _move_all(source, to), overwrite=overwrite)
    return Deployment(folder, complete, best, tuple(attempts))


def _finished(
    chosen: Attempt,
    task: Task,
    measured: Callable[[Attempt, Callable[[Architecture], Weights]], Attempt],
    folder: Path,
) -> Attempt:
    """The chosen network with its final weights, built and timed again; noise gets several chances.

    Where every chance is missed the weights, which may have taken hours, are kept beside `folder`.
    """
    kept = dict[str, Any]()

    def final(architecture: Architecture) -> Weights:
        if not kept and task.weights.finish:
            kept.update(task.weights.finish(architecture))
        return kept

    for _ in range(_CHANCES):
        again = measured(chosen, final)
        if again.meets:
            return again
    weights = folder.with_name(f"{folder.name}-weights.safetensors")
    key = SpaceKey.of(task.space)
    header = {name: str(value) for name, value in key.document().items() if name != "name"}
    write_weights(weights, kept, {"layout": "network", "space": key.name, **header})
    raise MeasurementError(
        f"with its final weights the chosen network measured {again.measured_ms:.4g} ms, over the budget that"
        f" it met before: the weights are kept in {weights}; ask for a little more, or on a quieter machine."
    )


def build_and_measure(
    architecture: Architecture,
    weights: WeightsSource,
    conditions: Conditions,
    folder: Path,
    *,
    overwrite: bool = False,
) -> Manifest:
    """A given network as an engine of this machine, timed in fresh processes: no budget, no search."""
    refuse_existing(folder, overwrite=overwrite)
    with scratch_beside(folder) as scratch:
        source = scratch / "engine"
        source.mkdir()
        tensors = weights.finish or weights.tensors
        engine = build(architecture, tensors(architecture), conditions, source)
        timing = time_engine(engine, conditions.backend, run_settings(conditions))
        manifest = replace(
            Manifest.of(architecture, conditions, weights.description, now()),
            engine_file=engine.name,
            measured=timing,
            **_on_this_machine(weights, conditions, engine),
        )
        return emit(manifest, folder, lambda to: _move_all(source, to), overwrite=overwrite)


def emit_portable(task: Task, folder: Path, *, overwrite: bool = False) -> Manifest:
    """Choose for a device that is not this machine; emit portable ONNX, to be built and measured there."""
    refuse_existing(folder, overwrite=overwrite)
    attempt = _next_attempt(task, ())
    if attempt is None:
        raise PonasError("there is no latency table to choose with.")
    architecture = Architecture(task.space, attempt.choice.choices)
    model = network_model(architecture, task.weights.tensors(architecture), attempt.conditions.batch)
    environment = attempt.stored.table.environment
    manifest = replace(_manifest(task, attempt, tries=0), environment=environment)
    return emit(
        manifest, folder, lambda to: write_bytes(to / MODEL, model.SerializeToString()), overwrite=overwrite
    )


def _better(attempt: Attempt, best: Attempt) -> bool:
    return attempt.choice.predicted_loss_pp < best.choice.predicted_loss_pp


def _next_attempt(task: Task, attempts: Sequence[Attempt]) -> Attempt | None:
    """The best network not yet tried over all tables, None when there is none.

    Before anything was tried an impossible budget is a BudgetError, the most hopeful table's.
    """
    found, refusals = list[Attempt](), list[BudgetError]()
    for stored in task.tables:
        before = [a for a in attempts if a.stored == stored]
        table = stored.table.scaled(_residual(before))
        try:
            choices = task.choose(table, len(before) + 1)
        except BudgetError as error:
            refusals.append(error)
            if not before or error.least is None or error.constraint != "latency_ms":
                continue
            # By the residuals nothing fits: let the clock say so of the fastest network there is.
            try:
                choices = task.choose(table, 1, replace(task.budget, latency_ms=error.least))
            except BudgetError:  # the other limits leave no network that fast
                continue
        tried = {a.choice.choices for a in before}
        fresh = next((choice for choice in choices if choice.choices not in tried), None)
        if fresh is not None:
            plain = stored.table.predict_ms(fresh.choices)
            choice = replace(fresh, budget=task.budget, predicted_ms=plain)
            found.append(Attempt(len(attempts) + 1, stored, choice, fresh.predicted_ms))
    if not found and not attempts and refusals:
        raise min(refusals, key=lambda error: inf if error.least is None else error.least)
    return min(found, key=lambda a: (a.choice.predicted_loss_pp, a.expected_ms), default=None)


def _residual(attempts: Sequence[Attempt]) -> float:
    """Measured over predicted, the geometric mean of the attempts on one table; above it by each miss."""
    if not attempts:
        return 1.0
    mean = exp(fmean(log(a.measured_ms / a.choice.predicted_ms) for a in attempts))
    return mean * (1 + _CAUTION_PCT / 100 * sum(not a.meets for a in attempts))


def _measured(
    attempt: Attempt, space: Space, tensors: Callable[[Architecture], Weights], folder: Path
) -> Attempt:
    architecture = Architecture(space, attempt.choice.choices)
    folder.mkdir()
    engine = build(architecture, tensors(architecture), attempt.conditions, folder)
    timing = time_engine(engine, attempt.conditions.backend, run_settings(attempt.conditions))
    return replace(attempt, engine_file=engine.name, timing=timing)


def run_settings(conditions: Conditions) -> RunSettings:
    """What a session for these conditions is compiled with."""
    return RunSettings(conditions.precision, conditions.threads)


def _missed(budget: Budget, attempts: Sequence[Attempt]) -> BudgetError:
    asked = budget.latency_ms or 0.0
    fastest = min(attempt.measured_ms for attempt in attempts)
    return BudgetError(
        f"no engine met {quantity('latency_ms', asked)} in {len(attempts)} tries: the fastest one measured"
        f" {quantity('latency_ms', fastest, up=True)}. Ask for that or more, or profile again.",
        "latency_ms",
        asked,
        fastest,
    )


def _move_all(source: Path, target: Path) -> None:
    for path in source.iterdir():
        shutil.move(path, target / path.name)


def _manifest(task: Task, attempt: Attempt, tries: int) -> Manifest:
    choice = attempt.choice
    architecture = Architecture(task.space, choice.choices)
    return replace(
        Manifest.of(architecture, attempt.conditions, task.weights.description, now()),
        engine_file=attempt.engine_file,
        budget=tuple(choice.budget.limits().items()),
        predicted=(
            *((key, value) for key, value in document(choice).items() if key in _PREDICTED),
            ("expected_ms", attempt.expected_ms),
        ),
        measured=attempt.timing,
        tries=tries,
        tables=(_used(attempt.stored), _used(task.accuracy)),
    )


# The optimum is that of the table as the clock corrected it: `expected_ms` is what it then says.
_PREDICTED = ("method", "optimal", "predicted_ms", "predicted_loss_pp", "gap_pp", "evaluations")


def _on_this_machine(weights: WeightsSource, conditions: Conditions, engine: Path) -> dict[str, Any]:
    """Accuracy through the engine, and what it was measured in, as fields of a manifest."""
    backend = get_backend(conditions.backend)
    top1 = None
    if weights.top1_pct:
        with backend.open(engine, run_settings(conditions)) as session:
            top1 = weights.top1_pct(session, conditions.batch)
    return {
        "top1_pct": top1,
        "top1_on": weights.tested_on,
        "environment": (*this_machine().environment(), *backend.environment()),
    }


def _used(stored: StoredTable | StoredAccuracy) -> TableUsed:
    return TableUsed(stored.kind, stored.path.name, sha256(stored.path), stored.made_on)


def engine_document(manifest: Manifest, folder: Path) -> dict[str, Any]:
    """An engine as `ponas specialize --json` and `ponas export --json` print it."""
    architecture = manifest.architecture
    return {
        **dict(manifest.predicted),
        "budget": dict(manifest.budget),
        "choices": list(manifest.choices),
        "engine": str(folder),
        "measured": measured_document(manifest.measured) if manifest.measured else None,
        **{column: network_cost(column, architecture) for column in COLUMNS},
        "device": manifest.conditions.document(),
        "status": manifest.status,
        "tries": manifest.tries,
        "weights": manifest.weights,
        "top1_pct": manifest.top1_pct,
        "tables": [{"kind": t.kind, "name": t.name, "made_on": t.made_on} for t in manifest.tables],
        "files": [file.name for file in manifest.files],
    }


def now() -> str:
    """The time as files carry it: UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
