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
from ponas_deploy.backends.progress import BuildProgress
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
from ponas_deploy.engines.emit import refuse_existing
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.search import OnAttempt
from ponas_deploy.engines.shared import SharedEngines
from ponas_deploy.engines.task import Task, WeightsSource
from ponas_deploy.engines.weights import Carried, one_at_a_time
from ponas_deploy.errors import PonasError, TableMismatchError, UnknownNameError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.machines.names import slug
from ponas_deploy.measuring.place import Place
from ponas_deploy.profiling.devices import known_devices
from ponas_deploy.profiling.inventory import Target, refuse_unknown
from ponas_deploy.profiling.places import reached_if_possible
from ponas_deploy.profiling.progress import OnProgress, of_device
from ponas_deploy.profiling.together import device_names, each, reached_each, said_of, with_name
from ponas_deploy.search.costs import Amount, limits_of
from ponas_deploy.search.fleet import Shared
from ponas_deploy.search.notation import Limit
from ponas_deploy.tables import store
from ponas_deploy.tables.margin import CONFIDENCE
from ponas_deploy.tables.store import StoredTable
from searchspace.space import Space


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

    Boards of the device book are measured at the same time, this machine alone when they are done. A device
    that fails does not stop the others: their tables are kept, and without `robust` their engines too.

    Args: those of `deploy`, but for
        targets: the devices, each with its runtimes, precisions, threads and batch.
        out: the folder that holds a folder for each device, called as the device is.
        robust: find the one network of least loss that keeps the budget of every device; else the best of
            each.
        budgets: limits of single devices by their names, in place of those in `budget`.
        latency_table: paths or names of the only tables to choose by; a device of which none is named takes
            all that serve it.
        seconds: what missing profiles of a device may take.

    Returns: the engines, and with `robust` the shared network: what it takes on each device in milliseconds
    by the tables, and what sharing costs against the best network of each.

    Raises as `deploy` does: BudgetError names the device that cannot keep its budget and the least it takes.
    FleetError where some devices failed without `robust`, with the engines of the others. PonasError for a
    device that is named twice, and for a shortlist or a genetic algorithm with `robust`.
    """
    folder, names = Path(out), device_names(targets)
    if robust and (shortlist or method != "exact"):
        raise PonasError("one network for several devices is found by the exact search, by the tables alone.")
    tables = [store.latency_table(name, on_note) for name in names_of(latency_table)]
    common = Wanted(
        space,
        stored_losses(space, losses),
        limits_of(budget, limits),
        one_at_a_time(carried_by(weights, data, finetune, seed, calibration, on_note)),
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

    known = known_devices()
    for target in targets:
        refuse_unknown(target, known)

    def reach(target: Target) -> AbstractContextManager[Place | None]:
        has_tables = bool(own_tables[targets.index(target)])
        return reached_if_possible(target, f"a search for {folder}", on_note, has_tables=has_tables)

    with reached_each(targets, reach) as (places, failures):

        def prepare(number: int) -> Task:
            name = names[number]
            return prepared(
                wanted[number],
                targets[number],
                places[number],
                seconds=seconds,
                on_note=with_name(name, on_note),
                on_progress=of_device(name, on_progress),
                on_build=_build_of(name, on_build),
            )

        def emit(number: int, task: Task, to: Path, *, replacing: bool) -> Engine:
            name = names[number]
            return emitted(
                task,
                places[number],
                to / name,
                tries=tries,
                overwrite=replacing,
                on_note=with_name(name, on_note),
                on_build=_build_of(name, on_build),
                on_attempt=on_attempt,
            )

        if robust:
            _raise_first(failures, names, on_note)
        tasks, failed = each(places, prepare)
        if robust:
            _raise_first(failed, names, on_note)
            in_order = [tasks[number] for number in range(len(names))]
            made_of_one = SharedEngines(places, names, in_order, emit, on_note)
            return Fleet(*made_of_one.emitted_to(folder, overwrite=overwrite))
        failures |= failed
        engines = dict[int, Engine]()
        for group in _at_once(places, tasks):
            made, failed = each(
                group, lambda number: emit(number, tasks[number], folder, replacing=overwrite)
            )
            engines |= made
            failures |= failed
    fleet = Fleet(tuple(engines[number] for number in sorted(engines)))
    if failures:
        raise FleetError(fleet, {names[number]: failures[number] for number in sorted(failures)})
    return fleet


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
    return lambda build: report(BuildProgress(f"{name}: {build.phase}", build.done, build.steps))


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
