"""The public way to an engine: a space, a target and a budget in, a measured engine out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ponas_deploy.backends import OnBuildProgress, registry
from ponas_deploy.engines import loop
from ponas_deploy.engines.choice import refuse_impossible
from ponas_deploy.engines.emit import refuse_existing
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.reranker import refuse_shortlist
from ponas_deploy.engines.resolutions import at_each, budget_of, searched_spaces, warnings_of
from ponas_deploy.engines.search import OnAttempt
from ponas_deploy.engines.task import Task, WeightsSource
from ponas_deploy.engines.weights import Carried, open_weights, refuse_for_search, refuse_other_network
from ponas_deploy.errors import PonasError, UnknownNameError
from ponas_deploy.files.home import home
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.records import sha256
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.profiling import inventory
from ponas_deploy.profiling.inventory import Target
from ponas_deploy.profiling.places import conditions_at, for_engines, reached, reached_if_possible
from ponas_deploy.profiling.progress import OnProgress
from ponas_deploy.profiling.tables import one_of, tables_over
from ponas_deploy.search.budget import binds_nothing
from ponas_deploy.search.costs import Amount, limits_of
from ponas_deploy.search.notation import Limit
from ponas_deploy.tables import store
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.margin import CONFIDENCE
from ponas_deploy.tables.measurement import PERCENTILES
from ponas_deploy.tables.quality import made_while_busy
from ponas_deploy.tables.store import StoredAccuracy, StoredTable
from searchspace.architecture import Architecture
from searchspace.space import Space

Losses: TypeAlias = AccuracyTable | StoredAccuracy
RUN_TABLE = "accuracy.json"
"""The accuracy table in the folder of a run, beside its weights."""
SECONDS = 60.0
"""Seconds that missing profiles may take, all together."""


def deploy(
    space: Space,
    target: Target,
    losses: Losses | Sequence[Losses] | None = None,
    budget: Mapping[str, Amount] | None = None,
    *,
    out: Path | str,
    resolutions: Sequence[int] | str | None = None,
    percentile: int = 50,
    confidence: float = CONFIDENCE,
    weights: WeightsSource | Carried | Path | str | None = None,
    data: str | None = None,
    finetune: int = 0,
    calibration: Path | str | None = None,
    latency_table: str | Sequence[str] | None = None,
    shortlist: int = 0,
    method: str = "exact",
    seed: int = 0,
    tries: int = 8,
    seconds: float = SECONDS,
    overwrite: bool = False,
    on_note: OnNote = no_note,
    on_progress: OnProgress | None = None,
    on_build: OnBuildProgress | None = None,
    on_attempt: OnAttempt | None = None,
    **limits: float | str,
) -> Engine:
    """Find the best network within a budget and emit it as an engine that was measured to meet it.

    All that `ponas specialize --device` does: the device is profiled where it was not yet (after a trial of
    several runtimes, the time shared among those that are worth it), the best network by all tables is built
    and timed in fresh processes, and the search goes on until the measured latency meets the budget. The
    device is this machine, or a board of the device book, which does all that over its link. For another
    one, or a board that cannot be reached, whose tables must be in the store, the portable ONNX network is
    emitted.

    Args:
        space: what can be built, at its resolution in pixels and number of classes.
        target: device, runtimes, precisions, threads and batch.
        losses: accuracy table, in percentage points of top-1; None for the space's own. Of several
            resolutions a table of each, or one that says what other resolutions lose.
        budget: the limits as a value (`Budget`); or name them below.
        out: the folder that the engine goes to.
        resolutions: sides of the input in pixels that are searched, each with latency tables of its own, or
            "auto" for those that make sense; None for the space's.
        percentile: of single inferences that the latency budget is on: 50, 90, 95 or 99.
        confidence: share of networks (0.5 to 0.999) that a table's margin keeps under the budget before
            anything is measured.
        weights: a file (safetensors, .pth) or a source of weights; None for random ones.
        data: the data set of the weights, where the file does not say it.
        finetune: epochs that inherited weights are fine-tuned.
        calibration: images for the scales of int8: a folder, or a .npy file, (count, 3, PX, PX) float32.
        latency_table: path or name of the only table to choose by, or of several; None for all that serve the
            target.
        shortlist: evaluate so many of the best networks with the weights they inherit; 0 for none.
        method: "exact" or "ga". seed: of everything random.
        tries: networks that are built and timed at the most.
        seconds: what missing profiles may take, all together.
        overwrite: whether an engine in `out` is replaced.
        on_note, on_progress, on_build, on_attempt: called with lines for people, with how far a profile or
            a build is, and with every network before and after it is timed.
        **limits: at most so much of a column, in its unit: `latency_ms`, `macs`, `params`, `bytes`; or as a
            text such as `latency="60%"` (of the latency above which nothing is won) or `params="5.1M"`.
            `fps=50` is at least so many frames per second, at the batch of the tables, in place of a latency.

    Returns: the engine, with its architecture and its measured latency in milliseconds.

    Raises: BudgetError when no network meets the budget, by prediction or when measured (it names what is
    possible), OverwriteError for a folder that is there, TableMismatchError and WeightsError for tables and
    weights of another space, UnknownNameError for a name that nobody knows, BackendError when a runtime
    fails, MissingExtraError for weights that need the extra `train`, MeasurementError when nothing
    trustworthy came out or somebody else is measuring.
    """
    folder = Path(out)
    wanted = Wanted(
        space,
        stored_losses(space, losses),
        limits_of(budget, limits),
        carried_by(weights, data, finetune, seed, calibration, on_note),
        tuple(store.latency_table(name, on_note) for name in names_of(latency_table)),
        own_losses=not losses,
        resolutions=resolutions,
        percentile=percentile,
        confidence=confidence,
        shortlist=shortlist,
        method=method,
        seed=seed,
    )
    refuse_existing(folder, overwrite=overwrite)
    searching = f"a search for {folder}"
    with reached_if_possible(target, searching, on_note, has_tables=bool(wanted.named)) as place:
        task = prepared(
            wanted,
            target,
            place,
            seconds=seconds,
            on_note=on_note,
            on_progress=on_progress,
            on_build=on_build,
        )
        return emitted(
            task,
            place,
            folder,
            tries=tries,
            overwrite=overwrite,
            on_note=on_note,
            on_build=on_build,
            on_attempt=on_attempt,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be deployed, before a device and its tables are known; see `deploy`.

    `named` are the only latency tables to choose by; none for all that serve the device. `own_losses` where
    nobody named the losses, which then are the space's own.
    """

    space: Space
    losses: tuple[StoredAccuracy, ...]
    limits: Mapping[str, Limit]
    carried: Carried
    named: tuple[StoredTable, ...] = ()
    own_losses: bool = False
    resolutions: Sequence[int] | str | None = None
    percentile: int = 50
    confidence: float = CONFIDENCE
    shortlist: int = 0
    method: str = "exact"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.percentile not in PERCENTILES:
            raise UnknownNameError("percentile", str(self.percentile), map(str, PERCENTILES))


def prepared(
    wanted: Wanted,
    target: Target,
    place: Place | None,
    *,
    seconds: float,
    on_note: OnNote = no_note,
    on_progress: OnProgress | None = None,
    on_build: OnBuildProgress | None = None,
) -> Task:
    """What is to be deployed on a device, with its tables: those are made at `place` where they lack.

    Whatever can be refused before anything is measured is. Raises as `deploy`.
    """
    target = for_engines(place, target, on_note) if place else target
    carried, space, named = wanted.carried, wanted.space, wanted.named
    spaces = searched_spaces(space, wanted.resolutions, carried, wanted.losses, target, named, on_note)
    for one in spaces:
        carried.space(one.name, one.resolution, one.classes)
    if len(spaces) > 1 and (carried.images_of_one or wanted.shortlist):
        images = "--calibration FILE.npy holds images of"
        what = images if carried.images_of_one else "--shortlist evaluates networks at"
        raise PonasError(f"{what} one resolution: name one with --resolution.")
    each = at_each(spaces, wanted.losses, carried)
    source = each[0].weights
    for precision in target.precisions:
        source.scale_images(precision)
    if wanted.shortlist:
        refuse_shortlist(wanted.method, source.validate, source.description, source.too_few)
    refuse_for_search(source)
    if wanted.own_losses and (note := table_beside(source.file)):
        on_note(note)
    refuse_impossible([(one.space, one.accuracy.table) for one in each], wanted.limits, wanted.method)
    tables, warnings = _tables(spaces, target, named, seconds, on_note, on_progress, on_build, place)
    limits_there = budget_of(wanted.limits, tables, each)
    if text := binds_nothing([stored.table.grid for stored in tables], limits_there.latency_ms):
        on_note(text)
    first, *further = each
    return Task(
        tables,
        first.accuracy,
        limits_there,
        first.space,
        source,
        wanted.method,
        wanted.seed,
        shortlist=wanted.shortlist,
        confidence=wanted.confidence,
        percentile=wanted.percentile,
        warnings=(*warnings, *warnings_of(each)),
        further=tuple(further),
    )


def emitted(
    task: Task,
    place: Place | None,
    folder: Path,
    *,
    tries: int,
    overwrite: bool = False,
    on_note: OnNote = no_note,
    on_build: OnBuildProgress | None = None,
    on_attempt: OnAttempt | None = None,
) -> Engine:
    """The engine of a task, measured at `place` to meet its budget; the portable network without a place."""
    if place is None:
        manifest = loop.emit_portable(task, folder, overwrite=overwrite)
        for warning in manifest.warnings:
            on_note(warning)
        return Engine(folder, manifest)
    found = loop.meet_budget(
        task,
        folder,
        tries=tries,
        overwrite=overwrite,
        on_attempt=on_attempt,
        on_note=on_note,
        on_build=on_build,
        place=place,
    )
    return Engine(found.folder, found.manifest, found.chosen, found.attempts, found.tables_doubted)


def export(
    architecture: Architecture,
    target: Target | Conditions,
    *,
    out: Path | str,
    weights: WeightsSource | Path | str | None = None,
    data: str | None = None,
    finetune: int = 0,
    calibration: Path | str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    on_note: OnNote = no_note,
    on_build: OnBuildProgress | None = None,
    place: Place | None = None,
) -> Engine:
    """Build a given network as an engine of a machine, and measure it there: no budget, no search.

    Args:
        architecture: the network, of its space, resolution and classes.
        target: this machine or a board with one runtime (its first precision where none is named), or
            conditions of one of these or of `place`.
        out: the folder that the engine goes to.
        weights: a file (safetensors, .pth) or a source of weights; None for random ones.
        data: the data set of the weights, where the file does not say it.
        finetune: epochs that inherited weights are fine-tuned.
        calibration: images for the scales of int8: a folder, or a .npy file, (count, 3, PX, PX) float32.
        seed: of random weights and of fine-tuning.
        overwrite: whether an engine in `out` is replaced.
        on_note, on_build: called with lines for people, and with how far a build is.
        place: where the target is reached already.

    Returns: the engine, measured in milliseconds in fresh processes.

    Raises: OverwriteError for a folder that is there, PonasError for a target that cannot be reached or
    leaves several runtimes open, UnknownNameError for a runtime or precision that is not here, WeightsError
    for weights of another network, BackendError when the runtime fails, MeasurementError when somebody else
    is measuring.
    """
    folder = Path(out)
    refuse_existing(folder, overwrite=overwrite)
    if isinstance(target, Conditions) and place is None:
        target = _target_in(target)
    if isinstance(target, Target) and not target.is_known:
        raise PonasError(target.unreachable)
    source = weights_for(architecture.space, weights, data, finetune, seed, calibration, on_note)
    refuse_other_network(source, architecture)
    with _place_and_conditions(target, place, f"an engine for {folder}", on_note) as (place, conditions):
        on_note(f"building for {conditions.text}, then timing in fresh processes ...")
        manifest = loop.build_and_measure(
            architecture, source, conditions, folder, overwrite=overwrite, on_build=on_build, place=place
        )
    return Engine(folder, manifest)


def _target_in(conditions: Conditions) -> Target:
    """The device of conditions, with their runtime and the rest; PonasError for threads it has not."""
    named = conditions.device, conditions.backend, conditions.precision
    return Target(*named, conditions.threads, conditions.batch)


@contextmanager
def _place_and_conditions(
    target: Target | Conditions, given: Place | None, what: str, on_note: OnNote
) -> Iterator[tuple[Place, Conditions]]:
    """Where an engine is built, and its conditions; PonasError for what a device cannot give."""
    if not isinstance(target, Target):
        registry.refuse_without_engines((target.backend,))
        yield given or HERE, target
        return
    with reached(target, what, on_note) as place:
        yield place, one_of(conditions_at(place, for_engines(place, target, on_note)))


def weights_for(
    space: Space,
    weights: WeightsSource | Path | str | None,
    data: str | None = None,
    finetune: int = 0,
    seed: int = 0,
    calibration: Path | str | None = None,
    on_note: OnNote = no_note,
) -> WeightsSource:
    """The source that was given, or that of a file, which must be for the space."""
    carried = carried_by(weights, data, finetune, seed, calibration, on_note)
    carried.space(space.name, space.resolution, space.classes)
    return carried.source(space.resolution)


def carried_by(
    weights: WeightsSource | Carried | Path | str | None,
    data: str | None,
    finetune: int,
    seed: int,
    calibration: Path | str | None,
    on_note: OnNote,
) -> Carried:
    """What was given, or the weights of a file, or random ones."""
    if isinstance(weights, Carried):
        return weights
    if isinstance(weights, WeightsSource):
        given = weights
        return Carried(lambda resolution: given)
    path, images = weights and Path(weights), calibration and Path(calibration)
    return open_weights(path or None, data, finetune, seed, images or None, on_note)


def table_beside(weights: str) -> str:
    """What is said where a run's own accuracy table lies beside its weights and was not asked for."""
    beside = Path(weights).parent / RUN_TABLE
    if not weights or not beside.is_file():
        return ""
    return f"{beside} was made with these weights and is not used: name it with --accuracy-table."


def stored_losses(
    space: Space, losses: Losses | Sequence[Losses] | None = None
) -> tuple[StoredAccuracy, ...]:
    """The files of accuracy tables, which a manifest names by their hash; the space's own without any."""
    if isinstance(losses, AccuracyTable | StoredAccuracy):
        return (_in_store(losses),)
    found = tuple(_in_store(one) for one in losses or ())
    return found or (store.own_accuracy_table(space.name),)


def _in_store(losses: Losses) -> StoredAccuracy:
    """The stored table that is equal to a value; else it is stored under its hash."""
    if isinstance(losses, StoredAccuracy):
        return losses
    for root in (store.SHIPPED, home()):
        for path in sorted((root / "accuracy").glob("*.json")):
            found = _readable(path)
            if found is not None and found.table == losses:
                return found
    return _stored(losses)


def _readable(path: Path) -> StoredAccuracy | None:
    try:
        return store.accuracy_table(str(path))
    except PonasError:  # a broken file in the store is another one's trouble
        return None


def _stored(losses: AccuracyTable) -> StoredAccuracy:
    draft = home() / "accuracy" / "draft.json"
    write_accuracy_table(losses, draft, overwrite=True)
    path = draft.with_name(f"given-{sha256(draft)[:12]}.json")
    draft.replace(path)
    return StoredAccuracy(path, losses)


def names_of(latency_table: str | Sequence[str] | None) -> tuple[str, ...]:
    """One name, several or none as a tuple."""
    return (latency_table,) if isinstance(latency_table, str) else tuple(latency_table or ())


def _tables(
    spaces: Sequence[Space],
    target: Target,
    named: Sequence[StoredTable],
    seconds: float,
    on_note: OnNote,
    on_progress: OnProgress | None,
    on_build: OnBuildProgress | None,
    place: Place | None,
) -> tuple[tuple[StoredTable, ...], tuple[str, ...]]:
    """The tables to choose by, and warnings about those that were named although they do not serve."""
    if not named:
        made = tables_over(
            target,
            spaces,
            seconds,
            on_note=on_note,
            on_progress=on_progress,
            on_build=on_build,
            place=place,
        )
        return inventory.measured_first(made, on_note), ()
    tables = inventory.measured_first(inventory.given(target, spaces, named), on_note)
    if place:
        registry.refuse_without_engines(stored.conditions.backend for stored in tables)
    for stored in tables:
        if text := made_while_busy(stored.name, stored.table):
            on_note(f"{text}: its predictions may be off.")
    return tables, tuple(text for stored in tables for text in inventory.caveats(target, stored, place))
