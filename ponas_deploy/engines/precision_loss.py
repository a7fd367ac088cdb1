"""What INT8 loses, measured before a search: networks are quantised and evaluated through engines.

No accuracy table knows it. Of each runtime a few networks of the front, at the budget and below, are built in
INT8 and evaluated on validation images, beside the same networks in full precision. The largest drop counts
for all networks of that runtime in INT8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ponas_deploy.backends import INT8, OnBuildProgress, RunSettings, get_backend, registry
from ponas_deploy.engines.building import backend_for, run_settings
from ponas_deploy.engines.emit import build
from ponas_deploy.engines.manifest import MODEL
from ponas_deploy.engines.precisions import PrecisionLoss
from ponas_deploy.engines.quantised import NOT_COUNTED
from ponas_deploy.engines.task import Task, Validation, WeightsSource
from ponas_deploy.errors import BudgetError, PonasError
from ponas_deploy.files.notes import OnNote
from ponas_deploy.files.scratch import Scratch
from ponas_deploy.measuring.place import Place
from ponas_deploy.profiling.devices import known_devices
from ponas_deploy.profiling.making import precisions_here
from ponas_deploy.profiling.places import known_at
from ponas_deploy.profiling.target import Target
from ponas_deploy.search.costs import LATENCY
from ponas_deploy.search.specialize import Specialization, shortlist
from ponas_deploy.tables.store import StoredTable
from searchspace.architecture import Architecture

NETWORKS = 3
_SHARES = (1.0, 0.85, 0.7)
"""Of the budget: the networks that are evaluated are the best within these."""
_BY_NAME = "--precision int8 takes it all the same."


def offers_int8(target: Target, place: Place | None) -> bool:
    """Whether a runtime that is considered has INT8; of a device that is not reached, whether a table has."""
    known = known_at(place, target) if place else None
    if known is None and target.local:
        known = precisions_here(target.backends, on_gpu=target.on_gpu)
    if known is not None:
        return any(INT8 in precisions for precisions in known.values())
    tables = known_devices().get(target.device_name, ())
    return any(stored.conditions.precision == INT8 for stored in tables)


def why_not_measured(weights: WeightsSource, place: Place | None) -> str:
    """Why nobody can say what INT8 loses, with the next step; empty where it can be measured."""
    if place is None:
        return f"int8 is left out: what it loses is not measured here. {_BY_NAME}"
    if weights.validation is not None and weights.images is not None:
        return ""
    if not weights.trained:
        why = "the weights are random, and have no accuracy to lose"
        step = "Name trained ones with --weights and their images with --data."
    else:
        why = "there are no labelled images to measure what it loses on"
        step = "Name the data set of the weights with --data (with the extra 'train')."
    return f"int8 is left out: {why}. {step} {_BY_NAME}"


def with_losses(
    task: Task, place: Place | None, *, named: bool, on_note: OnNote, on_build: OnBuildProgress | None = None
) -> Task:
    """The task with what INT8 loses in each runtime counted, where INT8 takes part beside anything else.

    Where it cannot be measured, INT8 stays uncounted if it was `named`, which is said, and else is left out.
    """
    int8 = [stored for stored in task.tables if stored.conditions.precision == INT8]
    if not int8 or len({_how(stored) for stored in task.tables}) == 1:
        return task
    if place is None or why_not_measured(task.weights, place):
        on_note(NOT_COUNTED)
        return task
    found = list[PrecisionLoss]()
    for backend in dict.fromkeys(stored.conditions.backend for stored in int8):
        tables = [stored for stored in int8 if stored.conditions.backend == backend]
        try:
            found.append(_measured(task, tables, place, on_note, on_build))
        except PonasError as error:
            if named:
                raise
            on_note(f"int8 in {backend} is left out: what it loses could not be measured. {error} {_BY_NAME}")
            task = replace(task, tables=tuple(one for one in task.tables if one not in tables))
        else:
            on_note(found[-1].text)
    return replace(task, precision_losses=tuple(found))


def _how(stored: StoredTable) -> tuple[str, str]:
    return stored.conditions.backend, stored.conditions.precision


def _measured(
    task: Task, tables: Sequence[StoredTable], place: Place, on_note: OnNote, on_build: OnBuildProgress | None
) -> PrecisionLoss:
    """What INT8 of one runtime loses; `tables` are its tables, of one resolution or of several."""
    chosen = _networks(task, tables)
    backend = tables[0].conditions.backend
    on_note(f"measuring what int8 loses in {backend}: {len(chosen)} networks on validation images ...")
    drops, images, data = list[float](), 0, ""
    for stored, choice in chosen:
        here = task.of(stored)
        if here.weights.validation is None:
            raise PonasError("there are no validation images.")
        architecture = Architecture(here.space, choice.choices)
        drop, images = _drop(architecture, here.weights, here.weights.validation, stored, place, on_build)
        drops.append(drop)
        data = here.weights.validation.data
    return PrecisionLoss(backend, INT8, tuple(drops), images, data)


def _networks(task: Task, tables: Sequence[StoredTable]) -> list[tuple[StoredTable, Specialization]]:
    """Up to NETWORKS different networks: the best by each table within shares of the budget."""
    found = dict[tuple[str, tuple[str, ...]], tuple[StoredTable, Specialization]]()
    for share in _SHARES:
        for stored in tables:
            choice = _best(task.of(stored), stored, share)
            found.setdefault((stored.name, choice.choices), (stored, choice))
    return list(found.values())[:NETWORKS]


def _best(task: Task, stored: StoredTable, share: float) -> Specialization:
    """The best network within a share of the latency budget; the fastest where that is too little."""
    limit_ms = task.budget.latency_ms
    budget = task.budget.with_limits(latency_ms=limit_ms * share) if limit_ms else task.budget
    given = stored.table, task.accuracy.table
    try:
        return shortlist(*given, budget, 1, space=task.space)[0]
    except BudgetError as error:
        if error.constraint != LATENCY.name or error.least is None:
            raise
        return shortlist(*given, budget.with_limits(latency_ms=error.least), 1, space=task.space)[0]


def _drop(
    architecture: Architecture,
    weights: WeightsSource,
    validation: Validation,
    stored: StoredTable,
    place: Place,
    on_build: OnBuildProgress | None,
) -> tuple[float, int]:
    """How many points of top-1 a network loses in INT8 through an engine, and on how many images."""
    conditions, images = stored.conditions, weights.scale_images(INT8)
    with Scratch(prefix="ponas-int8-") as name:
        folder = Path(name)
        tensors = validation.weights(architecture)
        engine = build(architecture, tensors, conditions, folder, images, on_build, place=place)
        with backend_for(conditions, images, place=place).open(engine, run_settings(conditions)) as session:
            quantised = validation.accuracy(session, conditions.batch)
        model = (folder / MODEL).read_bytes()
    with get_backend(registry.reference_backend()).load(model, RunSettings()) as session:
        full = validation.accuracy(session, conditions.batch)
    return full.top1_pct - quantised.top1_pct, full.images
