"""From tables and a budget to an engine that was measured to meet it: the loop closes on measurement.

The best network over all tables of a device (one a runtime and precision) is built and timed in fresh
processes. Where the clock disagrees with the table, the residual corrects that table and the search
goes on, until the measured percentile meets the budget. The one that is chosen is timed once more at the
end, and must meet it in both measurements together: a few seconds do not show the minutes to come.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.engines.attempt import Attempt
from ponas_deploy.engines.attempts import next_attempt
from ponas_deploy.engines.building import backend_for, run_settings
from ponas_deploy.engines.documents import engine_document
from ponas_deploy.engines.emit import build, emit, move_all, refuse_existing, scratch_beside
from ponas_deploy.engines.manifest import MODEL, Manifest, TableUsed
from ponas_deploy.engines.mixed import within_budget
from ponas_deploy.engines.quantised import fp32_top1_pct, gains_of, scale_warnings
from ponas_deploy.engines.reranker import Reranker
from ponas_deploy.engines.search import OnAttempt, OnNote, Search
from ponas_deploy.engines.task import Task, WeightsSource, random_source
from ponas_deploy.engines.timing import EngineTiming, time_engine
from ponas_deploy.errors import MeasurementError, PonasError
from ponas_deploy.files.documents import encoded
from ponas_deploy.files.records import sha256, write_bytes
from ponas_deploy.files.weights import write_weights
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.search.costs import MEMORY
from ponas_deploy.search.specialize import specialization_document
from ponas_deploy.tables import store
from ponas_deploy.tables.accuracy_quality import top1_warnings
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.store import StoredAccuracy, StoredTable
from searchspace.architecture import Architecture
from searchspace.mixed import plain

__all__ = [
    "Attempt",
    "Deployment",
    "Task",
    "WeightsSource",
    "build_and_measure",
    "emit_portable",
    "engine_document",
    "meet_budget",
    "random_source",
]

TRIES = 8
TIMEOUT_S = 30.0
"""A slow machine builds and times one network in that time."""
_FINISHED_WAIT_S = 3600.0
"""How long weights that took hours wait for somebody who measures."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The emitted engine and how it was found; `tables_doubted` where a warning is of the tables."""

    folder: Path
    manifest: Manifest
    chosen: Attempt
    attempts: tuple[Attempt, ...]
    tables_doubted: bool = False


def meet_budget(
    task: Task,
    folder: Path,
    *,
    tries: int = TRIES,
    timeout_s: float = TIMEOUT_S,
    overwrite: bool = False,
    on_attempt: OnAttempt | None = None,
    on_note: OnNote | None = None,
    on_build: OnBuildProgress | None = None,
    place: Place = HERE,
) -> Deployment:
    """Search, build, time, correct, until the measurement meets the budget; then emit the engine.

    Once one meets it, a better one is looked for until `timeout_s` seconds have passed or the budget is
    used up. `on_attempt` is called before and after each attempt's measurement, `on_note` with warnings and
    news, `on_build` while a runtime builds that says how far it is. `place` is the machine that builds and
    measures. BudgetError when no network can meet
    the budget, by prediction or after `tries` measurements; MeasurementError when somebody else is measuring.
    """
    refuse_existing(folder, overwrite=overwrite)
    note = on_note or (lambda text: None)
    task = task.trusting(promise=False)
    for warning in task.warnings:
        note(warning)
    reranker = task.reranker()
    with scratch_beside(folder) as scratch:
        search = Search(task, reranker, scratch, on_attempt or (lambda attempt: None), note, on_build, place)
        with place.to_oneself(store.lock_path(), f"a search for {folder}"):
            best = search.run(tries, timeout_s)
        task = task.of(best.stored)
        best = _finished(best, task, search, folder)
        manifest = replace(
            _manifest(task, best, len(search.attempts), reranker),
            **_on_machine(place, task.weights, best.conditions, search.engine(best)),
        )
        source = search.engine(best).parent
        complete = emit(manifest, folder, lambda to: move_all(source, to), overwrite=overwrite)
    if task.weights.finish:
        _finished_weights(folder).unlink()
    return Deployment(folder, complete, best, tuple(search.attempts), task.tables_doubted)


def _finished(chosen: Attempt, task: Task, search: Search, folder: Path) -> Attempt:
    """The chosen network with its final weights, where there are others, built and timed again.

    A few engines are built where noise is over the budget (`Retries`). The weights, which may have taken
    hours, lie beside `folder` until the engine is there.
    """
    if not task.weights.finish:
        return chosen
    architecture = Architecture(task.space, chosen.choice.choices)
    tensors = task.weights.finish(architecture)
    weights, key = _finished_weights(folder), SpaceKey.of(plain(task.space))
    header = {name: str(value) for name, value in key.document().items() if name != "name"}
    header |= task.weights.metadata(architecture)
    write_weights(weights, tensors, {"layout": "network", "space": key.name, **header})
    try:
        with search.place.to_oneself(store.lock_path(), f"an engine for {folder}", _FINISHED_WAIT_S):
            for _ in range(RETRIES.later_times):
                again = search.measured(chosen, lambda architecture: tensors)
                again = search.remeasure(again) if again.meets else again
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
    place: Place = HERE,
) -> Manifest:
    """A given network as an engine of `place`, timed in fresh processes: no budget, no search."""
    refuse_existing(folder, overwrite=overwrite)
    with scratch_beside(folder) as scratch:
        source = scratch / "engine"
        source.mkdir()
        tensors = (weights.finish or weights.tensors)(architecture)
        images = weights.scale_images(conditions.precision)
        metadata = weights.metadata(architecture)
        engine = build(architecture, tensors, conditions, source, images, on_build, metadata, place)
        with place.to_oneself(store.lock_path(), f"an engine for {folder}"):
            timing = time_engine(
                engine, conditions.backend, run_settings(conditions), place=place, energy=True
            )
        manifest = replace(
            Manifest.of(architecture, conditions, weights.description, now()),
            engine_file=engine.name,
            measured=timing,
            warnings=(
                *weights.warnings,
                *scale_warnings(weights, conditions),
                *_said(timing, conditions.device),
            ),
            preprocessing=weights.preprocessing,
            class_names=weights.class_names,
            batch_norm=weights.batch_norm,
            trained=weights.trained,
            **_on_machine(place, weights, conditions, engine),
        )
        return emit(manifest, folder, lambda to: move_all(source, to), overwrite=overwrite)


def emit_portable(task: Task, folder: Path, *, overwrite: bool = False) -> Manifest:
    """Choose for a device that is not this machine; emit portable ONNX, to be built and measured there.

    Its prediction is all there is to promise: the network fits with the table's margin, and a hopeless
    table is refused (MeasurementError).
    """
    from searchspace.graph import network_model

    refuse_existing(folder, overwrite=overwrite)
    task = task.trusting(promise=True)
    reranker = task.reranker()
    attempt = next_attempt(task, (), reranker, measured=False)
    if attempt is None:
        raise PonasError("there is no latency table to choose with.")
    task = task.of(attempt.stored)
    architecture = Architecture(task.space, attempt.choice.choices)
    tensors = (task.weights.finish or task.weights.tensors)(architecture)
    metadata = task.weights.metadata(architecture)
    model = network_model(architecture, tensors, attempt.conditions.batch, metadata)
    environment = attempt.stored.table.environment
    manifest = replace(_manifest(task, attempt, 0, reranker), environment=environment)
    return emit(
        manifest, folder, lambda to: write_bytes(to / MODEL, model.SerializeToString()), overwrite=overwrite
    )


def _manifest(task: Task, attempt: Attempt, tries: int, reranker: Reranker | None) -> Manifest:
    choice, predicted = attempt.choice, encoded(specialization_document(attempt.choice))
    architecture = Architecture(task.space, choice.choices)
    return replace(
        Manifest.of(architecture, attempt.conditions, task.weights.description, now()),
        engine_file=attempt.engine_file,
        budget=choice.budget.limits,
        percentile=task.percentile,
        predicted=(
            *((key, predicted[key]) for key in predicted if key in _PREDICTED),
            ("expected_ms", attempt.expected_ms),
            ("confidence", task.confidence),
            ("margin", attempt.margin and attempt.margin.factor),
            *((f"predicted_{name}", value) for name, value in attempt.foreseen if name == MEMORY.name),
        ),
        measured=attempt.timing,
        tries=tries,
        throughput=task.throughput,
        precision_losses=task.precision_losses,
        precision_gains=gains_of(task.tables, choice.choices, task.space.resolution),
        by_precision=within_budget(task),
        checked=tuple(one.name for one in attempt.checked if one.limit is not None),
        tables=(_used(attempt.stored), _used(task.accuracy)),
        shortlist=reranker.entries(choice.choices) if reranker else (),
        warnings=(
            *task.warnings,
            *top1_warnings(task.accuracy.table, [choice.predicted_loss_pp], [task.space.resolution]),
            *scale_warnings(task.weights, attempt.conditions),
            *_said(attempt.timing, attempt.conditions.device),
        ),
        preprocessing=task.weights.preprocessing,
        class_names=task.weights.class_names,
        batch_norm=task.weights.batch_norm,
        trained=task.weights.trained,
    )


def _said(timing: EngineTiming | None, device: str) -> tuple[str, ...]:
    """What disturbed a measurement on a device, as warnings."""
    said = timing.disturbed_on(device) if timing else ""
    return (said,) if said else ()


# The optimum is that of the table as the clock corrected it: `expected_ms` is what it then says.
_PREDICTED = (
    "method", "optimal", "predicted_ms", "predicted_loss_pp", "predicted_top1_pct", "predicted_top1_of",
    "gap_pp", "evaluations",
)  # fmt: skip


def _on_machine(place: Place, weights: WeightsSource, conditions: Conditions, engine: Path) -> dict[str, Any]:
    """Accuracy through the engine, and what it was measured in, as fields of a manifest."""
    backend = backend_for(conditions, weights.scale_images(conditions.precision), place=place)
    top1 = None
    if weights.top1_pct:
        with backend.open(engine, run_settings(conditions)) as session:
            top1 = weights.top1_pct(session, conditions.batch)
    return {
        "top1_pct": top1,
        "top1_fp32_pct": fp32_top1_pct(engine.parent, weights, conditions),
        "top1_on": weights.tested_on,
        "environment": (
            *place.environment(),
            *backend.environment(),
            *weights.scales_from(conditions.precision),
        ),
    }


def _used(stored: StoredTable | StoredAccuracy) -> TableUsed:
    return TableUsed(stored.kind, stored.path.name, sha256(stored.path), stored.made_on)


def now() -> str:
    """The time as files carry it: UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
