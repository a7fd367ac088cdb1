"""Engines for several devices: one network that all of them share, or the best of each.

What is shared is the architecture. It is chosen by the tables of all devices together (`search.fleet`), each
within its own budget, and an engine is emitted for each: measured on this machine and on boards that can be
reached, portable elsewhere. Where the clock says that it is over the budget of a device, that device's tables
are corrected by what was measured and the network is chosen again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from ponas_deploy.backends import OnBuildProgress
from ponas_deploy.engines.deployment import emitted, prepared
from ponas_deploy.engines.emit import refuse_existing
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.mixed import in_precisions
from ponas_deploy.engines.shared import SharedEngines
from ponas_deploy.engines.task import Task
from ponas_deploy.engines.wanted import Deployment, Wanted, wanted_of
from ponas_deploy.engines.weights import one_at_a_time
from ponas_deploy.errors import PonasError, TableMismatchError, UnknownNameError
from ponas_deploy.files.notes import OnNote
from ponas_deploy.machines.names import slug
from ponas_deploy.measuring.place import Place
from ponas_deploy.profiling.devices import known_devices
from ponas_deploy.profiling.places import reached_if_possible
from ponas_deploy.profiling.progress import of_device
from ponas_deploy.profiling.target import Target, refuse_unknown
from ponas_deploy.profiling.together import device_names, each, reached_each, said_of, with_name
from ponas_deploy.search.costs import OF_ENGINES, Amount, limits_of
from ponas_deploy.search.fleet import Shared
from ponas_deploy.search.notation import Limit
from ponas_deploy.tables.store import StoredTable


@dataclass(frozen=True, slots=True)
class Fleet:
    """An engine for each device, in the order of the devices; `shared` where it is one network for all."""

    engines: tuple[Engine, ...]
    shared: Shared | None = None


class FleetError(PonasError):
    """Some of several devices failed. Attributes: `fleet` (engines of the others), `failures` by device."""

    def __init__(self, fleet: Fleet, failures: Mapping[str, PonasError]) -> None:
        self.fleet, self.failures = fleet, dict(failures)
        said = [said_of(name, str(error)) for name, error in failures.items()]
        there = " and ".join(str(engine.folder) for engine in fleet.engines)
        super().__init__(" ".join([*said, f"Made for the others: {there}."] if there else said))


def deploy_fleet(
    asked: Deployment,
    targets: Sequence[Target],
    *,
    robust: bool = False,
    budgets: Mapping[str, Mapping[str, Amount]] | None = None,
) -> Fleet:
    """Emit an engine for each of several devices, with `robust` all of one network.

    Boards of the device book are measured at the same time, this machine alone when they are done. A device
    that fails does not stop the others: their tables are kept, and without `robust` their engines too.

    Args:
        asked: what is to be deployed. `out` is the folder that holds a folder for each device, called as the
            device is; a device of which no `latency_table` is named takes all that serve it; `seconds` is
            what missing profiles of a device may take.
        targets: the devices, each with its runtimes, precisions, threads and batch.
        robust: find the one network of least loss that keeps the budget of every device; else the best of
            each.
        budgets: limits of single devices by their names, in place of those of all.

    Returns: the engines, and with `robust` the shared network: what it takes on each device in milliseconds
    by the tables, and what sharing costs against the best network of each.

    Raises as `deploy` does: BudgetError names the device that cannot keep its budget and the least it takes.
    FleetError where some devices failed without `robust`, with the engines of the others. PonasError for a
    device that is named twice, and for a shortlist or a genetic algorithm with `robust`.
    """
    names = device_names(targets)
    asked, targets = in_precisions(asked, targets)
    folder = asked.folder
    if robust and (asked.shortlist or asked.method != "exact"):
        raise PonasError("one network for several devices is found by the exact search, by the tables alone.")
    wanted = _wanted_by_device(asked, targets, names, budgets or {})
    for column in OF_ENGINES if robust else ():
        if any(column.name in one.limits for one in wanted):
            raise PonasError(
                f"{column.option} is checked on the engine of one device: search without --robust."
            )
    if folder.exists() and not folder.is_dir():
        raise PonasError(f"{folder} is a file, engines of several devices go to a folder: name another one.")
    for name in names:
        refuse_existing(folder / name, overwrite=asked.overwrite)

    known = known_devices()
    for target in targets:
        refuse_unknown(target, known)

    def reach(target: Target) -> AbstractContextManager[Place | None]:
        has_tables = bool(wanted[targets.index(target)].named)
        return reached_if_possible(target, f"a search for {folder}", asked.on_note, has_tables=has_tables)

    with reached_each(targets, reach) as (places, failures):

        def prepare(number: int) -> Task:
            return prepared(wanted[number], targets[number], places[number], shared=robust)

        def emit(number: int, task: Task, to: Path, *, replacing: bool) -> Engine:
            there = replace(wanted[number].asked, out=to / names[number], overwrite=replacing)
            return emitted(there, task, places[number])

        if robust:
            _raise_first(failures, names, asked.on_note)
        tasks, failed = each(places, prepare)
        if robust:
            _raise_first(failed, names, asked.on_note)
            in_order = [tasks[number] for number in range(len(names))]
            made_of_one = SharedEngines(places, names, in_order, emit, asked.on_note)
            return Fleet(*made_of_one.emitted_to(folder, overwrite=asked.overwrite))
        failures |= failed
        engines = dict[int, Engine]()
        for group in _at_once(places, tasks):
            made, failed = each(
                group, lambda number: emit(number, tasks[number], folder, replacing=asked.overwrite)
            )
            engines |= made
            failures |= failed
    fleet = Fleet(tuple(engines[number] for number in sorted(engines)))
    if failures:
        raise FleetError(fleet, {names[number]: failures[number] for number in sorted(failures)})
    return fleet


def _wanted_by_device(
    asked: Deployment,
    targets: Sequence[Target],
    names: Sequence[str],
    budgets: Mapping[str, Mapping[str, Amount]],
) -> list[Wanted]:
    """What is wanted of each device: its limits and tables; what is said of it carries its name."""
    common = wanted_of(asked)
    carried = one_at_a_time(common.carried)
    own = zip(names, _limits_by_device(budgets, targets), _tables_by_device(common.named, names), strict=True)
    return [
        Wanted(
            replace(
                asked,
                on_note=with_name(name, asked.on_note),
                on_progress=of_device(name, asked.on_progress),
                on_build=_build_of(name, asked.on_build),
            ),
            common.losses,
            {**common.limits, **limits},
            carried,
            tables,
        )
        for name, limits, tables in own
    ]


def _at_once(places: Mapping[int, Place | None], tasks: Mapping[int, Task]) -> list[dict[int, Place | None]]:
    """Devices whose engines are made in one go: all, but where networks are trained or evaluated for each.

    That takes long, and Ctrl-C ends it in the main thread alone.
    """
    there = {number: places[number] for number in sorted(tasks)}
    if any(task.shortlist or task.weights.finish for task in tasks.values()):
        return [{number: place} for number, place in there.items()]
    return [there]


def _raise_first(failures: Mapping[int, PonasError], names: Sequence[str], on_note: OnNote) -> None:
    """Raise the failure of the first device that has one; those of others are said."""
    if failures:
        first, *others = sorted(failures)
        for number in others:
            on_note(said_of(names[number], str(failures[number])))
        raise failures[first]


def _build_of(name: str, on_build: OnBuildProgress | None) -> OnBuildProgress | None:
    """Pass on how far a build is as that of a device."""
    if on_build is None:
        return None
    report = on_build
    return lambda build: report(replace(build, phase=f"{name}: {build.phase}"))


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
