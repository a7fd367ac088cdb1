"""The engines of one network that several devices share: chosen, measured, corrected, put in place.

`fleet` prepares the devices; here the network is chosen by the tables of all, built and measured wherever
there is a place, and chosen again where the clock says that it is over a device's budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ponas_deploy.engines.emit import scratch_beside
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.resolutions import sides_at
from ponas_deploy.engines.task import AtResolution, Task
from ponas_deploy.errors import BudgetError, PonasError
from ponas_deploy.files.notes import OnNote
from ponas_deploy.files.opening import make_folder
from ponas_deploy.measuring.place import Place
from ponas_deploy.profiling.together import each
from ponas_deploy.search.fleet import FleetDevice, NamedSide, OnDevice, Shared, choose_shared
from ponas_deploy.tables.margin import margin
from ponas_deploy.tables.store import StoredTable
from searchspace.architecture import Architecture
from searchspace.weights import Weights

SHARED_TRIES = 4
"""Shared networks that are built and timed at the most."""


@dataclass(slots=True)
class SharedEngines:
    """One network for several devices, from their tables to an engine for each."""

    places: Mapping[int, Place | None]
    names: Sequence[str]
    tasks: Sequence[Task]
    emit: Callable[..., Engine]
    on_note: OnNote

    def emitted_to(self, folder: Path, *, overwrite: bool) -> tuple[tuple[Engine, ...], Shared]:
        """Choose, measure where there is a place, and put all engines in place when all of them are done.

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
        return engines, shared

    def _settled(
        self, devices: Sequence[FleetDevice], kept: Sequence[Sequence[StoredTable]], scratch: Path
    ) -> tuple[Shared, tuple[Engine, ...]]:
        """The shared network with an engine of it for each device in `scratch`, all measured within budget.

        What is over it on several devices corrects the tables of all of them.
        """
        devices, left = list(devices), SHARED_TRIES
        while True:
            left -= 1
            shared = choose_shared(devices)
            chosen = self._only(shared, kept)
            tasks = [replace(task, weights=replace(task.weights, finish=None)) for task in chosen]
            engines, failures = each(self.places, partial(self._emitted_again, tasks=tasks, scratch=scratch))
            if not failures:
                return shared, tuple(engines[number] for number in range(len(self.names)))
            for number, error in sorted(failures.items()):
                measured = self._measured(number, error, shared)
                if measured is None or not left:
                    raise error
                self.on_note(f"{self.names[number]}: {error} Another network is chosen.")
                devices[number] = _corrected(devices[number], measured)

    def _emitted_again(self, number: int, tasks: Sequence[Task], scratch: Path) -> Engine:
        return self.emit(number, tasks[number], scratch, replacing=True)

    def _measured(self, number: int, error: PonasError, shared: Shared) -> float | None:
        """How many times its prediction the network took on a device; None where the clock did not say so."""
        predicted_ms = shared.devices[number].choice.predicted_ms
        if self.places[number] is None or not isinstance(error, BudgetError) or error.cannot_be_told:
            return None
        if error.least is None or error.least <= predicted_ms:
            return None
        return error.least / predicted_ms

    def _kept(self, place: int) -> tuple[StoredTable, ...]:
        """The tables of a device that can be used: no hopeless one, unless all are and it is measured."""
        task = self.tasks[place]
        tables = task.trusting(promise=self.places[place] is None).tables
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
                tables=_tables_for(on, tables, measured=self.places[number] is not None),
                only=on.choice,
            )
            for number, (task, tables, on) in enumerate(zip(self.tasks, kept, shared.devices, strict=True))
        ]


def _tables_for(on: OnDevice, tables: Sequence[StoredTable], *, measured: bool) -> tuple[StoredTable, ...]:
    """The table that the network is fastest by; all of its resolution where the clock decides."""
    chosen = tables[on.place]
    if not measured:
        return (chosen,)
    return tuple(
        one
        for one in tables
        if not (one.table.space and chosen.table.space)
        or one.table.space.resolution == chosen.table.space.resolution
    )


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
