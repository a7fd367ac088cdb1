"""The public way to an engine: a space, a target and a budget in, a measured engine out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ponas_deploy.backends import OnBuildProgress, registry
from ponas_deploy.engines import loop
from ponas_deploy.engines.choice import refuse_impossible
from ponas_deploy.engines.counted_energy import refuse_without_counter
from ponas_deploy.engines.emit import refuse_existing
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.losses import Losses, table_beside
from ponas_deploy.engines.mixed import in_precisions
from ponas_deploy.engines.precision_loss import offers_int8, why_not_measured, with_losses
from ponas_deploy.engines.quantised import keeping_accuracy
from ponas_deploy.engines.reranker import refuse_shortlist
from ponas_deploy.engines.resolutions import at_each, budget_of, searched_spaces, warnings_of
from ponas_deploy.engines.search import OnAttempt
from ponas_deploy.engines.task import Task, WeightsSource
from ponas_deploy.engines.wanted import SECONDS, Deployment, Wanted, wanted_of
from ponas_deploy.engines.weights import Carried, refuse_for_search
from ponas_deploy.errors import PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.measuring.place import Place
from ponas_deploy.profiling import serving_tables
from ponas_deploy.profiling.places import for_engines, reached_if_possible
from ponas_deploy.profiling.progress import OnProgress
from ponas_deploy.profiling.tables_for import tables_over
from ponas_deploy.profiling.target import Target
from ponas_deploy.search.budget import binds_nothing
from ponas_deploy.search.costs import LATENCY, Amount, limits_of
from ponas_deploy.tables.margin import CONFIDENCE
from ponas_deploy.tables.quality import made_while_busy
from ponas_deploy.tables.store import StoredTable
from searchspace.architecture import only_network
from searchspace.mixed import is_mixed, plain
from searchspace.space import Space


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
        target: device, runtimes, precisions, threads and batch. With the precision "mixed" each layer has one
            of its own, fp32 or int8 (`searchspace.mixed`).
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
            `fps=50` is at least so many frames per second, at the batch of the tables, in place of a latency;
            `throughput=50` so many images per second, measured of inferences one right after another;
            `memory="100MB"` and `energy="50mJ"` are checked on the engines.

    Returns: the engine, with its architecture and its measured latency in milliseconds.

    Raises: BudgetError when no network meets the budget, by prediction or when measured (it names what is
    possible), OverwriteError for a folder that is there, TableMismatchError and WeightsError for tables and
    weights of another space, UnknownNameError for a name that nobody knows, BackendError when a runtime
    fails, MissingExtraError for weights that need the extra `train`, MeasurementError when nothing
    trustworthy came out or somebody else is measuring.
    """
    asked = Deployment(
        space,
        out,
        losses,
        limits_of(budget, limits),
        resolutions=resolutions,
        percentile=percentile,
        confidence=confidence,
        weights=weights,
        data=data,
        finetune=finetune,
        calibration=calibration,
        latency_table=latency_table,
        shortlist=shortlist,
        method=method,
        seed=seed,
        tries=tries,
        seconds=seconds,
        overwrite=overwrite,
        on_note=on_note,
        on_progress=on_progress,
        on_build=on_build,
        on_attempt=on_attempt,
    )
    return deploy_one(asked, target)


def deploy_one(asked: Deployment, target: Target) -> Engine:
    """What `deploy` does, of a value that says all that is asked for."""
    asked, (target,) = in_precisions(asked, [target])
    wanted = wanted_of(asked)
    refuse_existing(asked.folder, overwrite=asked.overwrite)
    searching = f"a search for {asked.folder}"
    with reached_if_possible(target, searching, asked.on_note, has_tables=bool(wanted.named)) as place:
        return emitted(asked, prepared(wanted, target, place), place)


def prepared(wanted: Wanted, target: Target, place: Place | None, *, shared: bool = False) -> Task:
    """What is to be deployed on a device, with its tables: those are made at `place` where they lack.

    Whatever can be refused before anything is measured is. The network may be `shared` with other devices:
    then nothing is measured of what INT8 loses, and it takes part only where it is named. Raises as `deploy`.
    """
    asked, carried = wanted.asked, wanted.carried
    refuse_without_counter(wanted.limits, target, place)
    target = for_engines(place, target, asked.on_note) if place else target
    spaces = searched_spaces(
        asked.space, asked.resolutions, carried, wanted.losses, target, wanted.named, asked.on_note
    )
    for one in spaces:
        carried.space(one.name, one.resolution, one.classes)
    if len(spaces) > 1 and (carried.images_of_one or asked.shortlist):
        images = "--calibration FILE.npy holds images of"
        what = images if carried.images_of_one else "--shortlist evaluates networks at"
        raise PonasError(f"{what} one resolution: name one with --resolution.")
    each = at_each(spaces, wanted.losses, carried)
    source = each[0].weights
    for precision in target.precisions:
        source.scale_images(precision)
    if asked.shortlist:
        refuse_shortlist(asked.method, source.validate, source.description, source.too_few)
    mixed = is_mixed(spaces[0].name)
    if not (mixed and only_network(plain(spaces[0]))):  # of one network the precisions are searched
        refuse_for_search(source)
    if not asked.losses and (note := table_beside(source.file, wanted.losses)):
        asked.on_note(note)
    refuse_impossible([(one.space, one.accuracy.table) for one in each], wanted.limits, asked.method)
    target = _with_int8(wanted, target, source, None if shared else place)
    tables, warnings = _tables(wanted, spaces, target, place)
    on_latency = wanted.limits.get(LATENCY.name)
    throughput = on_latency.amount if on_latency and on_latency.is_throughput else None
    if (throughput or target.streams > 1) and asked.percentile != 50:
        raise PonasError("a percentile is of single inferences: not with --throughput or --streams.")
    limits_there = budget_of(wanted.limits, tables, each, keeping_accuracy(tables))
    if text := binds_nothing([stored.table.grid for stored in tables], limits_there.latency_ms, throughput):
        asked.on_note(text)
    first, *further = each
    task = Task(
        tables,
        first.accuracy,
        limits_there,
        first.space,
        source,
        asked.method,
        asked.seed,
        shortlist=asked.shortlist,
        confidence=asked.confidence,
        percentile=asked.percentile,
        warnings=(*warnings, *warnings_of(each)),
        further=tuple(further),
        throughput=throughput,
    )
    named = bool(target.precisions or wanted.named)
    return with_losses(
        task, None if shared else place, named=named, on_note=asked.on_note, on_build=asked.on_build
    )


def _with_int8(wanted: Wanted, target: Target, source: WeightsSource, place: Place | None) -> Target:
    """The target with INT8 among what is considered, where its loss can be measured; else why not is said."""
    if target.precisions or wanted.named or not offers_int8(target, place):
        return target
    if why := why_not_measured(source, place):
        wanted.asked.on_note(why)
        return target
    return replace(target, int8=True)


def emitted(asked: Deployment, task: Task, place: Place | None) -> Engine:
    """The engine of a task, measured at `place` to meet its budget; the portable network without a place."""
    if place is None:
        manifest = loop.emit_portable(task, asked.folder, overwrite=asked.overwrite)
        for warning in manifest.warnings:
            asked.on_note(warning)
        return Engine(asked.folder, manifest)
    found = loop.meet_budget(
        task,
        asked.folder,
        tries=asked.tries,
        overwrite=asked.overwrite,
        on_attempt=asked.on_attempt,
        on_note=asked.on_note,
        on_build=asked.on_build,
        place=place,
    )
    return Engine(found.folder, found.manifest, found.chosen, found.attempts, found.tables_doubted)


def _tables(
    wanted: Wanted, spaces: Sequence[Space], target: Target, place: Place | None
) -> tuple[tuple[StoredTable, ...], tuple[str, ...]]:
    """The tables to choose by, and warnings about those that were named although they do not serve."""
    asked = wanted.asked
    if not wanted.named:
        made = tables_over(
            target,
            spaces,
            asked.seconds,
            on_note=asked.on_note,
            on_progress=asked.on_progress,
            on_build=asked.on_build,
            place=place,
        )
        return serving_tables.measured_first(made, asked.on_note), ()
    tables = serving_tables.measured_first(serving_tables.given(target, spaces, wanted.named), asked.on_note)
    if place:
        registry.refuse_without_engines(stored.conditions.backend for stored in tables)
    for stored in tables:
        if text := made_while_busy(stored.name, stored.table):
            asked.on_note(f"{text}: its predictions may be off.")
    return tables, tuple(text for stored in tables for text in serving_tables.caveats(target, stored, place))
