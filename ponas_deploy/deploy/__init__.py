"""From tables and a budget to an engine that was measured to meet it: the loop closes on measurement.

The best network over all tables of a device (one a runtime and precision) is built and timed in fresh
processes. Where the clock disagrees with the table, the residual corrects that table and the search
goes on, until the measured percentile meets the budget. The one that is chosen is timed once more at the
end, and must meet it in both measurements together: a few seconds do not show how a machine wanders.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from math import inf
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any

from ponas_deploy import store
from ponas_deploy.backends import RunSettings
from ponas_deploy.deploy.attempt import Attempt
from ponas_deploy.deploy.attempts import missed, next_attempt, second_chance
from ponas_deploy.deploy.shortlist import Shortlist
from ponas_deploy.deploy.task import Task, WeightsSource, random_source
from ponas_deploy.devices import this_machine
from ponas_deploy.engines import build, emit, refuse_existing, scratch_beside
from ponas_deploy.engines.building import backend_for
from ponas_deploy.engines.manifest import MODEL, Manifest, TableUsed, measured_document
from ponas_deploy.engines.timing import EngineTiming, time_engine
from ponas_deploy.errors import BackendError, MeasurementError, PonasError
from ponas_deploy.lock import machine_to_oneself
from ponas_deploy.progress import OnBuildProgress
from ponas_deploy.records import sha256, write_bytes
from ponas_deploy.specialize import document
from ponas_deploy.store import StoredAccuracy, StoredTable
from ponas_deploy.tables import Conditions, SpaceKey
from ponas_deploy.weights import write_weights
from searchspace.architecture import Architecture
from searchspace.cost import COLUMNS, network_cost
from searchspace.weights import Weights

__all__ = [
    "Attempt",
    "Deployment",
    "Task",
    "WeightsSource",
    "build_and_measure",
    "deploy",
    "emit_portable",
    "engine_document",
    "random_source",
]

TRIES = 8
PATIENCE_S = 30.0
"""A slow machine builds and times one network in that time."""
_ROOM_PER_NOISE, _ROOM_BOUNDS_PCT = 1.5, (1.0, 4.0)
"""An unused budget of less than so many times the noise, within these bounds, is the room for it."""
_CHANCES = 3
_WAIT_S = 10.0
"""A machine that is slower than its table for a while may be itself again after that."""
_FINISHED_WAIT_S = 3600.0
"""How long weights that took hours wait for somebody who measures."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The emitted engine and how it was found."""

    folder: Path
    manifest: Manifest
    chosen: Attempt
    attempts: tuple[Attempt, ...]


OnAttempt = Callable[[Attempt], None]
OnNote = Callable[[str], None]


def deploy(
    task: Task,
    folder: Path,
    *,
    tries: int = TRIES,
    patience_s: float = PATIENCE_S,
    overwrite: bool = False,
    on_attempt: OnAttempt | None = None,
    on_note: OnNote | None = None,
    on_build: OnBuildProgress | None = None,
) -> Deployment:
    """Search, build, time, correct, until the measurement meets the budget; then emit the engine.

    Once one meets it, a better one is looked for until `patience_s` seconds have passed or the budget is
    used up. `on_attempt` is called before and after each attempt's measurement, `on_note` with what there is
    to say, `on_build` while a runtime builds that says how far it is. BudgetError when no network can meet
    the budget, by prediction or after `tries` measurements; MeasurementError when somebody else is measuring.
    """
    refuse_existing(folder, overwrite=overwrite)
    note = on_note or (lambda text: None)
    task = task.trusting(promise=False)
    for warning in task.warnings:
        note(warning)
    jury = task.jury()
    with scratch_beside(folder) as scratch:
        bench = _Bench(task, jury, scratch, on_attempt or (lambda attempt: None), note, on_build)
        with machine_to_oneself(store.lock_path(), f"a search for {folder}"):
            best = bench.search(tries, patience_s)
        best = _finished(best, task, bench, folder)
        manifest = replace(
            _manifest(task, best, len(bench.attempts), jury),
            **_on_this_machine(task.weights, best.conditions, bench.engine(best)),
        )
        source = bench.engine(best).parent
        complete = emit(manifest, folder, lambda to: _move_all(source, to), overwrite=overwrite)
    if task.weights.finish:
        _finished_weights(folder).unlink()
    return Deployment(folder, complete, best, tuple(bench.attempts))


@dataclass(slots=True)
class _Bench:
    """Where networks are built and timed, each in a folder below `scratch`; it remembers them all."""

    task: Task
    jury: Shortlist | None
    scratch: Path
    report: OnAttempt
    note: OnNote
    on_build: OnBuildProgress | None
    attempts: list[Attempt] = field(default_factory=list)
    twice: set[int] = field(default_factory=set)
    """The numbers of those that had their second look."""
    waits: int = 0

    def engine(self, attempt: Attempt) -> Path:
        """The engine file of an attempt, in a folder of its own."""
        return self.scratch / str(attempt.number) / attempt.engine_file

    def search(self, tries: int, patience_s: float) -> Attempt:
        """The best network that meets the budget in all measurements of it together.

        What a second look says counts like any other measurement: where it leaves room after all, the search
        goes on. With weights that are still to be finished it will be built and timed again anyway, so that
        the second look is left to that. The first looks that a second one took back do not count as tries.
        """
        start, most_tries = monotonic(), tries + _CHANCES
        while True:
            self._try(start, tries, patience_s)
            best = self._best()
            if best is None:
                if self._look_again():
                    continue
                raise missed(self.task.budget, self.attempts)
            if self.task.weights.finish or best.number in self.twice:
                return best
            if not self.second_look(best).meets:
                tries = min(tries + 1, most_tries)

    def measured(self, attempt: Attempt, tensors: Callable[[Architecture], Weights]) -> Attempt:
        """Build a network and time it."""
        attempt = replace(attempt, number=len(self.attempts) + 1, timing=None)
        self.report(attempt)
        folder, conditions = self.scratch / str(attempt.number), attempt.conditions
        shutil.rmtree(folder, ignore_errors=True)  # one that could not be measured
        folder.mkdir()
        architecture = Architecture(self.task.space, attempt.choice.choices)
        images = self.task.weights.scale_images(conditions.precision)
        weights = tensors(architecture)
        engine = build(architecture, weights, conditions, folder, images, self.on_build)
        timing = time_engine(engine, conditions.backend, run_settings(conditions))
        timing = replace(timing, wander_pct=attempt.wander_pct)
        done = replace(attempt, engine_file=engine.name, timing=timing)
        self.report(done)
        self.attempts.append(done)
        return done

    def _try(self, start: float, tries: int, patience_s: float) -> None:
        """Build and time networks until none is better, the budget is used up, or the time or the tries.

        Where no new network is expected to fit and to be better, one that missed while the machine was slower
        is looked at again.
        """
        while len(self.attempts) < tries:
            best = self._best()
            if best and (monotonic() - start > patience_s or self._enough(best)):
                return
            attempt = next_attempt(self.task, self.attempts, self.jury)
            if attempt and not (best and best.safe and attempt.merit >= best.merit):
                step = partial(self.measured, attempt, self.task.weights.tensors)
            elif best and (again := second_chance(self.attempts, best, self.twice)):
                step = partial(self.second_look, again)
            else:
                return
            try:
                step()
            except (BackendError, MeasurementError) as error:
                if best is None:
                    raise
                self.note(f"{error} The search ends with what was found.")
                return

    def _look_again(self) -> bool:
        """Wait, and time once more what missed the budget although its table says it fits.

        Whether there is such a one, and the waits are not used up.
        """
        limit_ms = self.task.budget.latency_ms or inf
        hopeful = [attempt for attempt in self.attempts if attempt.choice.predicted_ms <= limit_ms]
        if not hopeful or self.waits == _CHANCES:
            return False
        self.waits += 1
        self.note(f"nothing met the budget, and by the tables some would: waiting {_WAIT_S:.0f} s ...")
        sleep(_WAIT_S)
        self.second_look(min(hopeful, key=lambda attempt: attempt.measured_ms))
        return True

    def _best(self) -> Attempt | None:
        """The best that meets the budget; one that does so with room before one that just does."""
        met = (attempt for attempt in self.attempts if attempt.meets)
        return min(met, key=lambda attempt: (not attempt.safe, attempt.merit), default=None)

    def _enough(self, best: Attempt) -> bool:
        """Whether what is left of the budget is noise; where images decide, the latency says nothing."""
        least, most = _ROOM_BOUNDS_PCT
        noise_pct = median(attempt.noise_pct for attempt in self.attempts)
        room_pct = min(most, max(least, _ROOM_PER_NOISE * noise_pct))
        return self.jury is None and best.safe and best.unused_pct <= room_pct

    def second_look(self, attempt: Attempt) -> Attempt:
        """Time an engine again, in fresh processes: what it took then and takes now count as one."""
        if attempt.timing is None:
            raise PonasError("this attempt was not measured yet.")
        conditions = attempt.conditions
        self.note(f"timing the engine of try {attempt.number} once more ...")
        later = time_engine(self.engine(attempt), conditions.backend, run_settings(conditions))
        again = replace(attempt, timing=attempt.timing.with_later(later))
        self.attempts[attempt.number - 1] = again
        self.twice.add(attempt.number)
        if not again.meets:
            self.note(f"try {again.number}: {again.measured_ms:.3f} ms with a second look, over the budget")
        return again


def _finished(chosen: Attempt, task: Task, bench: _Bench, folder: Path) -> Attempt:
    """The chosen network with its final weights, where there are others, built and timed again.

    Noise gets several chances. The weights, which may have taken hours, lie beside `folder` until the engine
    is there.
    """
    if not task.weights.finish:
        return chosen
    tensors = task.weights.finish(Architecture(task.space, chosen.choice.choices))
    weights, key = _finished_weights(folder), SpaceKey.of(task.space)
    header = {name: str(value) for name, value in key.document().items() if name != "name"}
    write_weights(weights, tensors, {"layout": "network", "space": key.name, **header})
    try:
        with machine_to_oneself(store.lock_path(), f"an engine for {folder}", _FINISHED_WAIT_S):
            for _ in range(_CHANCES):
                again = bench.measured(chosen, lambda architecture: tensors)
                again = bench.second_look(again) if again.meets else again
                if again.meets:
                    return again
    except PonasError as error:
        raise MeasurementError(f"{error} The final weights are kept in {weights}.") from error
    raise MeasurementError(
        f"with its final weights the chosen network measured {again.measured_ms:.4g} ms, over the budget that"
        f" it met before: the weights are kept in {weights}; ask for a little more, or on a quieter machine."
    )


def _finished_weights(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-weights.safetensors")


def build_and_measure(
    architecture: Architecture,
    weights: WeightsSource,
    conditions: Conditions,
    folder: Path,
    *,
    overwrite: bool = False,
    on_build: OnBuildProgress | None = None,
) -> Manifest:
    """A given network as an engine of this machine, timed in fresh processes: no budget, no search."""
    refuse_existing(folder, overwrite=overwrite)
    with scratch_beside(folder) as scratch:
        source = scratch / "engine"
        source.mkdir()
        tensors = (weights.finish or weights.tensors)(architecture)
        images = weights.scale_images(conditions.precision)
        engine = build(architecture, tensors, conditions, source, images, on_build)
        with machine_to_oneself(store.lock_path(), f"an engine for {folder}"):
            timing = time_engine(engine, conditions.backend, run_settings(conditions))
        manifest = replace(
            Manifest.of(architecture, conditions, weights.description, now()),
            engine_file=engine.name,
            measured=timing,
            warnings=_said(timing),
            **_on_this_machine(weights, conditions, engine),
        )
        return emit(manifest, folder, lambda to: _move_all(source, to), overwrite=overwrite)


def emit_portable(task: Task, folder: Path, *, overwrite: bool = False) -> Manifest:
    """Choose for a device that is not this machine; emit portable ONNX, to be built and measured there.

    Its prediction is all there is to promise: the network fits with the table's margin, and a hopeless
    table is refused (MeasurementError).
    """
    from searchspace.graph import network_model

    refuse_existing(folder, overwrite=overwrite)
    task = task.trusting(promise=True)
    jury = task.jury()
    attempt = next_attempt(task, (), jury, measured=False)
    if attempt is None:
        raise PonasError("there is no latency table to choose with.")
    architecture = Architecture(task.space, attempt.choice.choices)
    model = network_model(architecture, task.weights.tensors(architecture), attempt.conditions.batch)
    environment = attempt.stored.table.environment
    manifest = replace(_manifest(task, attempt, 0, jury), environment=environment)
    return emit(
        manifest, folder, lambda to: write_bytes(to / MODEL, model.SerializeToString()), overwrite=overwrite
    )


def run_settings(conditions: Conditions) -> RunSettings:
    """What a session for these conditions is compiled with."""
    return RunSettings(conditions.precision, conditions.threads)


def _move_all(source: Path, target: Path) -> None:
    for path in source.iterdir():
        shutil.move(path, target / path.name)


def _manifest(task: Task, attempt: Attempt, tries: int, jury: Shortlist | None) -> Manifest:
    choice = attempt.choice
    architecture = Architecture(task.space, choice.choices)
    return replace(
        Manifest.of(architecture, attempt.conditions, task.weights.description, now()),
        engine_file=attempt.engine_file,
        budget=tuple(choice.budget.limits().items()),
        percentile=task.percentile,
        predicted=(
            *((key, value) for key, value in document(choice).items() if key in _PREDICTED),
            ("expected_ms", attempt.expected_ms),
            ("confidence", task.confidence),
            ("margin", attempt.margin and attempt.margin.factor),
        ),
        measured=attempt.timing,
        tries=tries,
        tables=(_used(attempt.stored), _used(task.accuracy)),
        shortlist=jury.entries(choice.choices) if jury else (),
        warnings=(*task.warnings, *_said(attempt.timing)),
    )


def _said(timing: EngineTiming | None) -> tuple[str, ...]:
    """What disturbed a measurement, as warnings."""
    return (timing.disturbed,) if timing and timing.disturbed else ()


# The optimum is that of the table as the clock corrected it: `expected_ms` is what it then says.
_PREDICTED = ("method", "optimal", "predicted_ms", "predicted_loss_pp", "gap_pp", "evaluations")


def _on_this_machine(weights: WeightsSource, conditions: Conditions, engine: Path) -> dict[str, Any]:
    """Accuracy through the engine, and what it was measured in, as fields of a manifest."""
    backend = backend_for(conditions, weights.scale_images(conditions.precision))
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
        "percentile": manifest.percentile,
        "choices": list(manifest.choices),
        "engine": str(folder),
        "measured": measured_document(manifest.measured, manifest.percentile) if manifest.measured else None,
        **{column: network_cost(column, architecture) for column in COLUMNS},
        "device": manifest.conditions.document(),
        "status": manifest.status,
        "tries": manifest.tries,
        "weights": manifest.weights,
        "top1_pct": manifest.top1_pct,
        "shortlist": [asdict(entry) for entry in manifest.shortlist],
        "warnings": list(manifest.warnings),
        "tables": [{"kind": t.kind, "name": t.name, "made_on": t.made_on} for t in manifest.tables],
        "files": [file.name for file in manifest.files],
    }


def now() -> str:
    """The time as files carry it: UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
