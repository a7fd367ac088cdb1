"""What is compared: models of one's own, stock networks, and networks of a space, each with its top-1."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ponas_deploy.engines.choice import choose_over
from ponas_deploy.engines.compared import Entry, Top1, in_ms
from ponas_deploy.engines.losses import Losses, stored_losses
from ponas_deploy.engines.onnx_files import FixedModel, fixed_models
from ponas_deploy.engines.resolutions import at_each, searched_spaces, sides_at, warnings_of
from ponas_deploy.engines.stock import StockNetwork
from ponas_deploy.engines.stock_models import StockModel, stock_models
from ponas_deploy.engines.task import AtResolution
from ponas_deploy.engines.wanted import carried_by
from ponas_deploy.errors import BudgetError, PonasError, UnknownNameError
from ponas_deploy.files.bounds import Percent, fault
from ponas_deploy.files.notes import OnNote, OpenBar
from ponas_deploy.machines import gpu
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.place import Place
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.progress import OnProgress
from ponas_deploy.profiling.tables_for import tables_over
from ponas_deploy.profiling.target import THIS_MACHINE, Target
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.comparison import round_budgets
from ponas_deploy.search.costs import LATENCY
from ponas_deploy.search.notation import Limit
from ponas_deploy.search.sides import Side, budget_over, comparable, fronts_of
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_quality import accuracy_warnings
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.store import StoredAccuracy, find_table
from ponas_deploy.tables.top1 import PredictedTop1
from searchspace.architecture import Architecture, parse_architecture
from searchspace.description import published_figures
from searchspace.space import Space
from searchspace.spaces import build_space
from searchspace.zoo import published_network, published_networks

IMAGES = "ImageNet"
"""The images that published top-1 are of: a top-1 predicted of others is not put beside them."""
PUBLISHED_CLASSES = 1000
_NO_FILE = Path()
"""In place of the file of an accuracy table where a space has none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be compared; see `comparison.compare_networks`. `models` are files with their top-1.

    UnknownNameError for a name of `published` that no published network has.
    """

    space: Space
    stock: Sequence[StockNetwork]
    models: Mapping[Path, float | None]
    networks: Mapping[str, Sequence[str]]
    budgets: int
    latencies: Sequence[Limit]
    resolutions: Sequence[int] | str | None
    losses: Losses | Sequence[Losses] | None
    sizes: Mapping[str, int]
    published: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in self.published:
            if published_network(name) is None:
                raise UnknownNameError("published network", name, published_networks())
        for path, top1_pct in self.models.items():
            if top1_pct is not None and (wrong := fault(Percent, top1_pct)):
                raise PonasError(f"the top-1 of {path} {wrong}")
        if not (self.stock or self.models or self.networks or self.published or self.chooses):
            raise PonasError(
                "there is nothing to compare: name networks, ONNX files, budgets or stock networks."
            )

    @property
    def chooses(self) -> bool:
        """Whether networks are chosen for budgets."""
        return bool(self.budgets or self.latencies)


@dataclass(frozen=True, slots=True)
class Model:
    """One that is to be compared, before it was built: its entry without costs, and how its ONNX is had."""

    entry: Entry
    load: Callable[[], bytes]


def given_models(asked: Asked, each: Sequence[AtResolution], batch: int) -> list[Model]:
    """Models of one's own and networks that were named."""
    return [*_own(asked, batch), *_published(asked, batch), *_given(asked, each, batch)]


def stock_networks_of(asked: Asked, batch: int, on_note: OnNote, open_bar: OpenBar) -> list[Model]:
    """The stock networks, as far as they can be built."""
    with open_bar() as advance:
        return list(map(_stock, stock_models(asked.stock, batch, on_note, advance)))


def _own(asked: Asked, batch: int) -> Iterator[Model]:
    models = fixed_models(list(asked.models), asked.sizes, batch)
    for number, ((path, top1_pct), fixed) in enumerate(zip(asked.models.items(), models, strict=True)):
        top1 = None if top1_pct is None else Top1(top1_pct, "given", "by the user")
        entry = Entry(f"own-{number}", path.name, "own", _side(fixed), top1)
        yield Model(entry, partial(bytes, fixed.data))


def _published(asked: Asked, batch: int) -> Iterator[Model]:
    """Each at the resolution and with the classes that its published top-1 is of."""
    for network in dict.fromkeys(filter(None, map(published_network, asked.published))):
        space = build_space(network.name, network.resolution)
        top1 = Top1(network.top1_pct, "published", network.source)
        entry = Entry(f"published-{network.name}", network.name, "stock", network.resolution, top1)
        yield Model(entry, partial(network_bytes, parse_architecture(network.name, space), batch))


def _side(model: FixedModel) -> int | None:
    """The side of square images that a model takes; None for other inputs."""
    sizes = model.inputs[0].rpartition(": ")[2].split(" ")[1::2] if model.inputs else []
    return int(sizes[-1]) if len(sizes) == 4 and sizes[-1] == sizes[-2] else None


def each_resolution(asked: Asked, target: Target, on_note: OnNote) -> tuple[AtResolution, ...]:
    """The space at each resolution with the losses there; none where no network of a space is asked for.

    Without a budget a space may do without an accuracy table: then the top-1 of its networks is not known.
    """
    if not (asked.chooses or asked.networks):
        return ()
    carried = carried_by(None, None, 0, 0, None, on_note)
    accuracies = _accuracies(asked)
    spaces = searched_spaces(asked.space, asked.resolutions, carried, accuracies, target, (), on_note)
    if accuracies:
        return at_each(spaces, accuracies, carried)
    nothing = StoredAccuracy(_NO_FILE, AccuracyTable(Grid.over(asked.space, _zeros(asked.space))))
    return tuple(AtResolution(one, nothing, carried.source(one.resolution)) for one in spaces)


def _accuracies(asked: Asked) -> tuple[StoredAccuracy, ...]:
    if not (asked.losses or asked.chooses):
        try:
            find_table(f"accuracy/{asked.space.name}")
        except UnknownNameError:
            return ()
    return stored_losses(asked.space, asked.losses)


def _zeros(space: Space) -> Iterator[list[float]]:
    return ([0.0] * len(labels) for labels in space.labels)


def _given(asked: Asked, each: Sequence[AtResolution], batch: int) -> Iterator[Model]:
    for one in each:
        for number, (name, choices) in enumerate(asked.networks.items()):
            losses = one.accuracy.table
            predicted = losses.predicted_top1(losses.loss_pp(choices))
            key = f"given-{number}-{one.space.resolution}"
            network = Architecture(one.space, tuple(choices))
            yield _of_space(key, name, network, batch, losses, predicted)


def _stock(one: StockModel) -> Model:
    network = one.network
    of = f"{network.builder} {network.recipe}, {network.source}"
    top1 = Top1(network.top1_pct, "published", of, network.distilled)
    name = f"{network.name}{', fused' if network.fuse else ''}"
    entry = Entry(f"stock-{network.constructor}", name, "stock", network.resolution, top1)
    return Model(entry, one.path.read_bytes)


def _of_space(
    key: str,
    name: str,
    architecture: Architecture,
    batch: int,
    losses: AccuracyTable,
    predicted: PredictedTop1 | None,
) -> Model:
    space = architecture.space
    top1 = _published_top1(architecture) or _top1(predicted, losses, space)
    entry = Entry(key, name, "space", space.resolution, top1, choices=architecture.choices)
    return Model(entry, partial(network_bytes, architecture, batch))


def _published_top1(architecture: Architecture) -> Top1 | None:
    """That of a published network of a space, at the resolution and with the classes that it is of."""
    figures, space = published_figures(architecture), architecture.space
    if figures is None or (space.resolution, space.classes) != (figures.resolution, PUBLISHED_CLASSES):
        return None
    return Top1(figures.top1_pct, "published", figures.source)


def _top1(predicted: PredictedTop1 | None, losses: AccuracyTable, space: Space) -> Top1 | None:
    """None where it is of other images than published ones, or of other classes or pixels than the space."""
    origin = losses.origin
    if predicted is None or origin is None or origin.data != IMAGES or origin.classes != space.classes:
        return None
    if space.resolution != (losses.resolution or losses.measured_px):
        return None
    error_points = losses.top1_error_points
    return Top1(predicted.pct, "predicted", predicted.of, beyond=predicted.beyond, error_points=error_points)


def warnings_of_spaces(each: Sequence[AtResolution]) -> tuple[str, ...]:
    """What speaks against the top-1 that is predicted of networks of a space, whichever are compared."""
    said = [text for one in each for text in accuracy_warnings(one.accuracy.table)]
    return tuple(dict.fromkeys((*said, *warnings_of(each))))


def chosen_models(
    asked: Asked,
    each: Sequence[AtResolution],
    conditions: Conditions,
    seconds: float,
    place: Place,
    on_note: OnNote,
    on_progress: OnProgress | None,
) -> tuple[list[Model], tuple[str, ...]]:
    """The specialised networks for these conditions, and what speaks against the tables they are of.

    One that is best within several budgets stands there once. A budget that no network meets is left out,
    which the warnings say; a BudgetError where none is met.
    """
    if not asked.chooses:
        return [], ()
    tables = tables_over(
        _only(conditions),
        [one.space for one in each],
        seconds,
        on_note=on_note,
        on_progress=on_progress,
        place=place,
    )
    by_px, sides = {one.space.resolution: one for one in each}, sides_at(tables, each)
    found, warnings = dict[tuple[int, tuple[str, ...]], Model](), dict[str, None]()
    names, unmet = [stored.name for stored in tables], list[BudgetError]()
    for budget in _budgets(asked, sides, names):
        try:
            choice = choose_over(tables, sides, budget, names=names)
        except BudgetError as error:
            unmet.append(error)
            continue
        warnings |= dict.fromkeys(choice.warnings)
        best = choice.specialization
        at = by_px[best.resolution or asked.space.resolution]
        which = at.space.resolution, best.choices
        earlier = found[which].entry.budgets_ms if which in found else ()
        budgets_ms = (*earlier, budget.latency_ms or 0.0)
        name = f"{asked.space.name} for {in_ms(*budgets_ms)}"
        key = f"specialised-{len(found)}" if which not in found else found[which].entry.key
        losses, network = at.accuracy.table, Architecture(at.space, best.choices)
        model = _of_space(key, name, network, conditions.batch, losses, best.predicted_top1)
        entry = replace(model.entry, budgets_ms=budgets_ms, predicted_ms=best.predicted_ms)
        found[which] = replace(model, entry=entry)
    if unmet and not found:
        raise unmet[0]
    return list(found.values()), (*warnings, *map(str, unmet))


def _only(conditions: Conditions) -> Target:
    """A target that leaves nothing open but these conditions."""
    device = conditions.device
    if device in (this_machine().name, gpu.this_gpu()):
        device = gpu.GPU if device == gpu.this_gpu() else THIS_MACHINE
    return Target(device, conditions.backend, conditions.precision, conditions.threads, conditions.batch)


def _budgets(asked: Asked, sides: Sequence[Side], names: Sequence[str]) -> Iterator[Budget]:
    """The budgets that were asked for, or round ones over the range of all fronts."""
    limits = asked.latencies
    if not limits:
        fronts, _ = comparable(sides, names, fronts_of(sides))
        rounded = round_budgets([one.front for one in fronts], asked.budgets)
        limits = [Limit(budget_ms, "ms") for budget_ms in rounded]
    return (budget_over({LATENCY.name: limit}, sides) for limit in limits)
