"""Engines for several devices: one network that all of them share, or the best of each.

What is shared is the architecture. It is chosen by the tables of all devices together (`search.fleet`), each
within its own budget, and an engine is emitted for each: measured on this machine, portable elsewhere. Where
the clock says that it is over the budget of a device here, that device's tables are corrected by what was
measured and the network is chosen again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ponas_deploy.backends import OnBuildProgress
from ponas_deploy.engines.deployment import (
    SECONDS,
    Losses,
    Wanted,
    carried_by,
    emitted,
    names_of,
    prepared,
    stored_losses,
)
from ponas_deploy.engines.emit import refuse_existing, scratch_beside
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.resolutions import sides_at
from ponas_deploy.engines.search import OnAttempt
from ponas_deploy.engines.task import AtResolution, Task, WeightsSource
from ponas_deploy.engines.weights import Carried
from ponas_deploy.errors import BudgetError, PonasError, TableMismatchError, UnknownNameError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.opening import make_folder
from ponas_deploy.machines.names import slug
from ponas_deploy.measuring.place import HERE
from ponas_deploy.profiling.inventory import Target
from ponas_deploy.profiling.progress import OnProgress
from ponas_deploy.search.costs import Amount, limits_of
from ponas_deploy.search.fleet import FleetDevice, NamedSide, OnDevice, Shared, choose_shared
from ponas_deploy.search.notation import Limit
from ponas_deploy.search.specialize import Specialization
from ponas_deploy.tables import store
from ponas_deploy.tables.margin import CONFIDENCE, margin
from ponas_deploy.tables.store import StoredTable
from searchspace.architecture import Architecture
from searchspace.space import Space
from searchspace.weights import Weights

SHARED_TRIES = 4
"""Shared networks that are built and timed here at the most."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """An engine for each device, in the order of the devices; `shared` where it is one network for all."""

    engines: tuple[Engine, ...]
    shared: Shared | None = None


def deploy_fleet(
    space: Space,
    targets: Sequence[Target],
    losses: Losses | Sequence[Losses] | None = None,
    budget: Mapping[str, Amount] | None = None,
    *,
    out: Path | str,
    robust: bool = False,
    budgets: Mapping[str, Mapping[str, Amount]] | None = None,
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
) -> Fleet:
    """Emit an engine for each of several devices, with `robust` all of one network.

    Args: those of `deploy`, but for
        targets: the devices, each with its runtimes, precisions, threads and batch.
        out: the folder that holds a folder for each device, called as the device is.
        robust: find the one network of least loss that keeps the budget of every device; else the best of
            each, one after the other.
        budgets: limits of single devices by their names, in place of those in `budget`.
        latency_table: paths or names of the only tables to choose by; a device of which none is named takes
            all that serve it.
        seconds: what missing profiles of a device may take.

    Returns: the engines, and with `robust` the shared network: what it takes on each device in milliseconds
    by the tables, and what sharing costs against the best network of each.

    Raises as `deploy` does: BudgetError names the device that cannot keep its budget and the least it takes.
    PonasError for a device that is named twice, and for a shortlist or a genetic algorithm with `robust`.
    """
    folder, names = Path(out), _names(targets)
    if robust and (shortlist or method != "exact"):
        raise PonasError("one network for several devices is found by the exact search, by the tables alone.")
    tables = [store.latency_table(name, on_note) for name in names_of(latency_table)]
    common = Wanted(
        space,
        stored_losses(space, losses),
        limits_of(budget, limits),
        carried_by(weights, data, finetune, seed, calibration, on_note),
        own_losses=not losses,
        resolutions=resolutions,
        percentile=percentile,
        confidence=confidence,
        shortlist=shortlist,
        method=method,
        seed=seed,
    )
    own_limits = _limits_by_device(budgets or {}, targets)
    own_tables = _tables_by_device(tables, names)
    wanted = [
        replace(common, limits={**common.limits, **own}, named=named)
        for own, named in zip(own_limits, own_tables, strict=True)
    ]
    if folder.exists() and not folder.is_dir():
        raise PonasError(f"{folder} is a file, engines of several devices go to a folder: name another one.")
    for name in names:
        refuse_existing(folder / name, overwrite=overwrite)

    def prepare(place: int) -> Task:
        note = _with_name(names[place], on_note)
        return prepared(
            wanted[place],
            targets[place],
            HERE if targets[place].local else None,
            seconds=seconds,
            on_note=note,
            on_progress=on_progress,
            on_build=on_build,
        )

    def emit(place: int, task: Task, to: Path, *, replacing: bool) -> Engine:
        return emitted(
            task,
            HERE if targets[place].local else None,
            to / names[place],
            tries=tries,
            overwrite=replacing,
            on_note=_with_name(names[place], on_note),
            on_build=on_build,
            on_attempt=on_attempt,
        )

    if not robust:
        engines = (emit(place, prepare(place), folder, replacing=overwrite) for place in range(len(names)))
        return Fleet(tuple(engines))
    tasks = _prepared(prepare, len(names))
    return _SharedEngines(targets, names, tasks, emit, on_note).emitted_to(folder, overwrite=overwrite)


def _prepared(prepare: Callable[[int], Task], count: int) -> list[Task]:
    """The tables of every device, made where they lack: one device after the other.

    Here is where devices that do not share a processor can be measured at the same time, a thread each.
    """
    return [prepare(place) for place in range(count)]


def _names(targets: Sequence[Target]) -> tuple[str, ...]:
    """What devices are called in their tables; PonasError for none, and for one that is named twice."""
    names = tuple(target.device_name for target in targets)
    if not names:
        raise PonasError("no device was named: name one or more.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PonasError(f"device {twice[0]} is named twice: name each once.")
    return names


def _limits_by_device(
    budgets: Mapping[str, Mapping[str, Amount]], targets: Sequence[Target]
) -> list[dict[str, Limit]]:
    """The limits of each device alone; UnknownNameError for those of a device that is not among them."""
    found: list[dict[str, Limit]] = [{} for _ in targets]
    for name, given in budgets.items():
        places = [
            place
            for place, target in enumerate(targets)
            if slug(name) in (slug(target.device), target.device_name)
        ]
        if not places:
            raise UnknownNameError("device of these", name, [target.device for target in targets])
        for limit in limits_of(given).items():
            found[places[0]].update([limit])
    return found


def _tables_by_device(tables: Sequence[StoredTable], names: Sequence[str]) -> list[tuple[StoredTable, ...]]:
    """The named tables of each device; TableMismatchError for one of none of them."""
    for stored in tables:
        if stored.device not in names:
            raise TableMismatchError(f"{stored.name} is of device {stored.device}, not {' or '.join(names)}.")
    return [tuple(stored for stored in tables if stored.device == name) for name in names]


def _with_name(name: str, on_note: OnNote) -> OnNote:
    return lambda text: on_note(f"{name}: {text}")


@dataclass(slots=True)
class _SharedEngines:
    """One network for several devices, from their tables to an engine for each."""

    targets: Sequence[Target]
    names: Sequence[str]
    tasks: Sequence[Task]
    emit: Callable[..., Engine]
    on_note: OnNote

    def emitted_to(self, folder: Path, *, overwrite: bool) -> Fleet:
        """Choose, measure what is here, and put all engines in place when all of them are done.

        Weights that are still to be fine-tuned are when the network is settled, once for all devices.
        """
        kept = [self._kept(place) for place in range(len(self.names))]
        devices = [self._device(place, tables) for place, tables in enumerate(kept)]
        with scratch_beside(folder) as scratch:
            shared, engines = self._settled(devices, kept, scratch)
            if any(task.weights.finish for task in self.tasks):
                finished = dict[Architecture, Weights]()
                engines = tuple(
                    self.emit(place, _once(task, finished), folder, replacing=overwrite)
                    for place, task in enumerate(self._only(shared, kept))
                )
            else:
                engines = tuple(_moved(one, folder, scratch / "replaced") for one in engines)
        return Fleet(engines, shared)

    def _settled(
        self, devices: Sequence[FleetDevice], kept: Sequence[Sequence[StoredTable]], scratch: Path
    ) -> tuple[Shared, tuple[Engine, ...]]:
        """The shared network with an engine of it for each device in `scratch`, those here within budget."""
        here = [place for place, target in enumerate(self.targets) if target.local]
        order = [*here, *(place for place in range(len(self.names)) if place not in here)]
        devices, left = list(devices), SHARED_TRIES
        while True:
            left -= 1
            shared, engines = choose_shared(devices), dict[int, Engine]()
            tasks = self._only(shared, kept)
            for place in order:
                task = replace(tasks[place], weights=replace(tasks[place].weights, finish=None))
                try:
                    engines[place] = self.emit(place, task, scratch, replacing=True)
                except BudgetError as error:
                    measured = _measured(error, shared.devices[place].choice)
                    if place not in here or measured is None or not left:
                        raise
                    self.on_note(f"{self.names[place]}: {error} Another network is chosen.")
                    devices[place] = _corrected(devices[place], measured)
                    break
            else:
                return shared, tuple(engines[place] for place in range(len(order)))

    def _kept(self, place: int) -> tuple[StoredTable, ...]:
        """The tables of a device that can be used: no hopeless one, unless all are and it is measured."""
        task = self.tasks[place]
        tables = task.trusting(promise=not self.targets[place].local).tables
        for stored in task.tables:
            if stored not in tables:
                self.on_note(f"{self.names[place]}: {stored.name} predicts too badly, and is left out.")
        return tables

    def _device(self, place: int, tables: Sequence[StoredTable]) -> FleetDevice:
        """A device as the search takes it."""
        task = self.tasks[place]
        first = AtResolution(task.space, task.accuracy, task.weights)
        sides = sides_at(tables, (first, *task.further))
        several = len({side.resolution for side in sides}) > 1
        names = [
            f"{one.conditions.backend} {one.conditions.precision}{several * f' {side.resolution} px'}"
            for one, side in zip(tables, sides, strict=True)
        ]
        return FleetDevice(
            self.names[place],
            tuple(
                NamedSide(name, side, margin(side.latency, task.confidence, task.percentile))
                for name, side in zip(names, sides, strict=True)
            ),
            task.budget,
        )

    def _only(self, shared: Shared, kept: Sequence[Sequence[StoredTable]]) -> list[Task]:
        """The task of each device with the shared network as the only one that may be chosen."""
        return [
            replace(
                task.of(tables[on.place]),
                tables=_tables_for(target, on, tables),
                only=on.choice,
            )
            for target, task, tables, on in zip(self.targets, self.tasks, kept, shared.devices, strict=True)
        ]


def _tables_for(target: Target, on: OnDevice, tables: Sequence[StoredTable]) -> tuple[StoredTable, ...]:
    """The table that the network is fastest by; of this machine all of its resolution, the clock decides."""
    chosen = tables[on.place]
    if not target.local:
        return (chosen,)
    return tuple(
        one
        for one in tables
        if not (one.table.space and chosen.table.space)
        or one.table.space.resolution == chosen.table.space.resolution
    )


def _measured(error: BudgetError, chosen: Specialization) -> float | None:
    """How many times its prediction the network took; None where the clock did not say so."""
    if error.cannot_be_told or error.least is None or error.least <= chosen.predicted_ms:
        return None
    return error.least / chosen.predicted_ms


def _corrected(device: FleetDevice, measured: float) -> FleetDevice:
    return replace(device, tables=tuple(replace(one, measured=measured) for one in device.tables))


def _once(task: Task, finished: dict[Architecture, Weights]) -> Task:
    """The task with the fine-tuning of its network done once, whatever the number of devices."""
    finish = task.weights.finish
    if finish is None:
        return task

    def kept(architecture: Architecture) -> Weights:
        if architecture not in finished:
            finished[architecture] = finish(architecture)
        return finished[architecture]

    return replace(task, weights=replace(task.weights, finish=kept))


def _moved(engine: Engine, folder: Path, replaced: Path) -> Engine:
    """An engine that was made beside `folder`, put in there."""
    make_folder(folder)
    place = folder / engine.folder.name
    if place.exists():
        replaced.mkdir(exist_ok=True)
        place.rename(replaced / place.name)
    engine.folder.rename(place)
    return replace(engine, folder=place)
