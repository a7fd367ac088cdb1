"""Specialised networks against stock networks and one's own models: built, then timed in the same rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic

from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.engines.building import build_model
from ponas_deploy.engines.choice import choose_over
from ponas_deploy.engines.compared import Comparison, Entry, Top1, compared
from ponas_deploy.engines.deployment import carried_by, stored_losses
from ponas_deploy.engines.interleaved import SECONDS, time_interleaved
from ponas_deploy.engines.onnx_costs import model_costs
from ponas_deploy.engines.onnx_files import FixedModel, fixed_model
from ponas_deploy.engines.resolutions import at_each, searched_spaces
from ponas_deploy.engines.stock import StockNetwork
from ponas_deploy.engines.stock_models import StockModel, stock_models
from ponas_deploy.engines.task import AtResolution
from ponas_deploy.errors import BackendError, PonasError, UnknownNameError
from ponas_deploy.files.bounds import Percent, fault
from ponas_deploy.files.lock import machine_to_oneself
from ponas_deploy.files.notes import OnNote, OpenBar, no_bar, no_note
from ponas_deploy.files.scratch import Scratch
from ponas_deploy.machines import gpu
from ponas_deploy.profiling import inventory
from ponas_deploy.profiling.inventory import Target
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.progress import OnProgress, ProfilingProgress
from ponas_deploy.profiling.tables import tables_over
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.comparison import round_budgets
from ponas_deploy.search.costs import LATENCY
from ponas_deploy.search.notation import Limit
from ponas_deploy.search.sides import Side, budget_over, comparable, fronts_of
from ponas_deploy.tables import store
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.store import StoredAccuracy
from ponas_deploy.tables.top1 import PredictedTop1
from searchspace.architecture import Architecture
from searchspace.space import Space

IMAGES = "ImageNet"
"""The images that published top-1 are of: a top-1 predicted of others is not put beside them."""
_BUILD_S = 2.0
"""A guess at what an engine takes to build, until one was built."""
TABLE_SECONDS = 60.0
"""Seconds that a latency table that is missing may take."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """An ONNX model of one's own, and its ImageNet top-1 in percent where one says it."""

    path: Path
    top1_pct: float | None = None

    def __post_init__(self) -> None:
        if self.top1_pct is not None and (wrong := fault(Percent, self.top1_pct)):
            raise PonasError(f"the top-1 of {self.path} {wrong}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is compared: networks of a space, stock networks, models of one's own.

    The networks of the space are those `architectures` that are given (name and choices), and the best within
    each of `latencies`, or without any within so many `budgets` over the range of the front; each at the
    `resolutions` in pixels (AUTO for those that make sense, None for the space's). Losses are those of
    `accuracy`, None for the space's own table. `sizes` are those that own models leave open.
    """

    space: Space
    stock: Sequence[StockNetwork] = ()
    own: Sequence[OwnModel] = ()
    architectures: Sequence[tuple[str, tuple[str, ...]]] = ()
    budgets: int = 0
    latencies: Sequence[Limit] = ()
    resolutions: Sequence[int] | str | None = None
    accuracy: StoredAccuracy | None = None
    sizes: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class _Model:
    """One that is to be compared, before it was built: its entry without costs, and how its ONNX is had."""

    entry: Entry
    load: Callable[[], bytes]


def compare_networks(
    asked: Asked,
    target: Target,
    *,
    seconds: float = SECONDS,
    table_seconds: float = TABLE_SECONDS,
    on_note: OnNote = no_note,
    on_progress: OnProgress | None = None,
    on_build: OnBuildProgress | None = None,
    open_bar: OpenBar = no_bar,
) -> tuple[Comparison, ...]:
    """Measure networks beside each other on this machine, in every runtime and precision of a target.

    Args:
        asked: what is compared.
        target: this machine with runtimes, precisions, threads and batch; a runtime that is named without a
            precision runs at its first one.
        seconds: of timing in a runtime, all processes together; building comes on top.
        table_seconds: what a latency table that is missing may take.
        on_note, on_progress, on_build: called with lines for people, with how far measuring is, and with how
            far a build is. open_bar: opens a bar for the building of the stock networks.

    Returns: one comparison for each runtime and precision, with latencies in milliseconds.

    Raises: PonasError for a target that is not this machine or nothing to compare, FileFormatError for a file
    that is no ONNX model, UnknownNameError for names that nobody knows, BudgetError for a budget below the
    fastest network, BackendError when a runtime fails, MeasurementError when somebody else is measuring.
    """
    if not target.local:
        raise PonasError(inventory.run_there(target, "compare"))
    wanted = inventory.missing(target, ())
    each = _each_resolution(asked, target, on_note)
    given = [*_own(asked, target.batch), *_given(asked, each, target.batch)]
    with open_bar() as advance:
        stock = stock_models(asked.stock, target.batch, on_note, advance)
    given += map(_stock, stock)
    if not (given or asked.budgets or asked.latencies):
        raise PonasError("there is nothing to compare: name networks, --onnx files, --latency or --budgets.")
    found = list[Comparison]()
    for conditions in wanted:
        chosen, warnings = _chosen(asked, each, conditions, table_seconds, on_note, on_progress)
        models = [*given, *chosen]
        with Scratch() as scratch:
            engines, entries = _built(models, conditions, Path(scratch), on_note, on_progress, on_build)
            on_note(f"timing in the same rounds ({len(engines)} to compare): {conditions.text}")
            with machine_to_oneself(store.lock_path(), f"a comparison, {conditions.text}"):
                timing = time_interleaved(engines, conditions, seconds, on_progress)
        found.append(compared(entries, timing, conditions, warnings))
    return tuple(found)


def _own(asked: Asked, batch: int) -> Iterator[_Model]:
    for number, one in enumerate(asked.own):
        fixed = fixed_model(one.path, asked.sizes or {}, batch)
        top1 = None if one.top1_pct is None else Top1(one.top1_pct, "given", "by the user")
        entry = Entry(f"own-{number}", one.path.name, "own", _side(fixed), top1)
        yield _Model(entry, partial(bytes, fixed.data))


def _side(model: FixedModel) -> int | None:
    """The side of square images that a model takes; None for other inputs."""
    sizes = model.inputs[0].rpartition(": ")[2].split(" ")[1::2] if model.inputs else []
    return int(sizes[-1]) if len(sizes) == 4 and sizes[-1] == sizes[-2] else None


def _each_resolution(asked: Asked, target: Target, on_note: OnNote) -> tuple[AtResolution, ...]:
    """The space at each resolution with the losses there; none where no network of a space is asked for.

    Without a budget a space may do without an accuracy table: then the top-1 of its networks is not known.
    """
    chosen = bool(asked.budgets or asked.latencies)
    if not (chosen or asked.architectures):
        return ()
    carried = carried_by(None, None, 0, 0, None, on_note)
    try:
        accuracies = stored_losses(asked.space, asked.accuracy)
    except UnknownNameError:
        if chosen:
            raise
        accuracies = ()
    spaces = searched_spaces(asked.space, asked.resolutions, carried, accuracies, target, (), on_note)
    if not accuracies:
        nothing = StoredAccuracy(Path(), AccuracyTable(Grid.over(asked.space, _zeros(asked.space))))
        accuracies = (nothing,)
    return at_each(spaces, accuracies, carried)


def _zeros(space: Space) -> Iterator[list[float]]:
    return ([0.0] * len(labels) for labels in space.labels)


def _given(asked: Asked, each: Sequence[AtResolution], batch: int) -> Iterator[_Model]:
    for one in each:
        for number, (name, choices) in enumerate(asked.architectures):
            losses = one.accuracy.table
            predicted = losses.predicted_top1(losses.loss_pp(choices))
            key = f"given-{number}-{one.space.resolution}"
            yield _of_space(key, name, Architecture(one.space, choices), batch, losses, predicted)


def _stock(one: StockModel) -> _Model:
    network = one.network
    of = f"{network.builder} {network.recipe}, {network.source}"
    top1 = Top1(network.top1_pct, "published", of, network.distilled)
    name = f"{network.name}{', fused' if network.fuse else ''}"
    entry = Entry(f"stock-{network.constructor}", name, "stock", network.resolution, top1)
    return _Model(entry, one.path.read_bytes)


def _of_space(
    key: str,
    name: str,
    architecture: Architecture,
    batch: int,
    losses: AccuracyTable,
    predicted: PredictedTop1 | None,
) -> _Model:
    px = architecture.space.resolution
    entry = Entry(key, name, "space", px, _top1(predicted, losses, px), choices=architecture.choices)
    return _Model(entry, partial(network_bytes, architecture, batch))


def _top1(predicted: PredictedTop1 | None, losses: AccuracyTable, px: int) -> Top1 | None:
    """None where it is of other images than published ones are, or of another resolution than `px`."""
    if predicted is None or losses.origin is None or IMAGES not in losses.origin.data:
        return None
    if px not in (losses.resolution, losses.measured_px):
        return None
    return Top1(predicted.pct, "predicted", predicted.of, beyond=predicted.beyond)


def _chosen(
    asked: Asked,
    each: Sequence[AtResolution],
    conditions: Conditions,
    seconds: float,
    on_note: OnNote,
    on_progress: OnProgress | None,
) -> tuple[list[_Model], tuple[str, ...]]:
    """The specialised networks for these conditions, and what speaks against the tables they are of.

    One that is best within several budgets stands there once.
    """
    if not (asked.budgets or asked.latencies):
        return [], ()
    tables = tables_over(
        _only(conditions), [one.space for one in each], seconds, on_note=on_note, on_progress=on_progress
    )
    by_px = {one.space.resolution: one for one in each}
    of_tables = [by_px[stored.table.space.resolution] for stored in tables if stored.table.space]
    sides = [
        Side(stored.table, one.accuracy.table, one.space)
        for stored, one in zip(tables, of_tables, strict=True)
    ]
    found, warnings = dict[tuple[int, tuple[str, ...]], _Model](), dict[str, None]()
    names = [stored.name for stored in tables]
    for budget in _budgets(asked, sides, names):
        choice = choose_over(tables, sides, budget, names=names)
        warnings |= dict.fromkeys(choice.warnings)
        best = choice.specialization
        at = by_px[best.resolution or asked.space.resolution]
        place = at.space.resolution, best.choices
        earlier = found[place].entry.budgets_ms if place in found else ()
        budgets_ms = (*earlier, budget.latency_ms or 0.0)
        name = f"{asked.space.name} for {', '.join(f'{one:.3g}' for one in budgets_ms)} ms"
        key = f"specialised-{len(found)}" if place not in found else found[place].entry.key
        losses, network = at.accuracy.table, Architecture(at.space, best.choices)
        model = _of_space(key, name, network, conditions.batch, losses, best.predicted_top1)
        entry = replace(model.entry, budgets_ms=budgets_ms, predicted_ms=best.predicted_ms)
        found[place] = replace(model, entry=entry)
    return list(found.values()), tuple(warnings)


def _only(conditions: Conditions) -> Target:
    """A target that leaves nothing open but these conditions."""
    device = gpu.GPU if conditions.device == gpu.this_gpu() else inventory.THIS_MACHINE
    return Target(device, conditions.backend, conditions.precision, conditions.threads, conditions.batch)


def _budgets(asked: Asked, sides: Sequence[Side], names: Sequence[str]) -> Iterator[Budget]:
    """The budgets that were asked for, or round ones over the range of all fronts."""
    limits = asked.latencies
    if not limits:
        fronts, _ = comparable(sides, names, fronts_of(sides))
        rounded = round_budgets([one.front for one in fronts], asked.budgets)
        limits = [Limit(budget_ms, "ms") for budget_ms in rounded]
    return (budget_over({LATENCY.name: limit}, sides) for limit in limits)


def _built(
    models: Sequence[_Model],
    conditions: Conditions,
    scratch: Path,
    on_note: OnNote,
    on_progress: OnProgress | None,
    on_build: OnBuildProgress | None,
) -> tuple[dict[str, Path], list[Entry]]:
    """The engines by key, and the entries with their costs; a stock network that is refused is left out."""
    engines, entries, start = dict[str, Path](), list[Entry](), monotonic()
    for number, one in enumerate(models):
        if on_progress:
            each_s = (monotonic() - start) / number if number else _BUILD_S
            left_s = each_s * (len(models) - number)
            on_progress(ProfilingProgress("build", number, len(models), left_s, one.entry.name))
        folder, data = scratch / one.entry.key, one.load()
        folder.mkdir()
        try:
            engines[one.entry.key] = build_model(data, conditions, folder, on_build)
        except BackendError as error:
            if one.entry.kind != "stock":
                raise
            on_note(f"{one.entry.name} is left out: {error}")
            continue
        costs = model_costs(data, conditions.batch)
        entries.append(replace(one.entry, params=costs.params, macs=costs.macs))
    return engines, entries
