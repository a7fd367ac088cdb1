"""A search on the fake device, whose tables are right because its clock is arithmetic."""

from __future__ import annotations

from pathlib import Path

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.engines.loop import (
    Task,
    WeightsSource,
    random_source,
)
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.search.budget import Budget
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.store import StoredAccuracy, StoredTable
from searchspace import Architecture
from searchspace.graph import network_model
from searchspace.space import Space
from searchspace.weights import random_weights


def device_ms(space: Space, choices: tuple[str, ...], precision: str = "fp32") -> float:
    """What the fake device takes for a whole network."""
    architecture = Architecture(space, choices)
    model = network_model(architecture, random_weights(architecture)).SerializeToString()
    with get_backend("fake").load(model, RunSettings(precision)) as session:
        return session.time_ns(1000) / 1e9


def tables(space: Space, folder: Path, optimism: float = 1.0, precision: str = "fp32") -> StoredTable:
    """A table that is right but for the factor `optimism`: each cell is the difference it makes."""
    first = tuple(layer.labels[0] for layer in space.layers)
    base = device_ms(space, first, precision)
    cells = []
    for index, layer in enumerate(space.layers):
        swapped = [(*first[:index], label, *first[index + 1 :]) for label in layer.labels]
        cells.append([device_ms(space, choices, precision) - base + base / 4 for choices in swapped])
    values = tuple(tuple(value / optimism for value in row) for row in cells)
    grid = Grid(tuple(layer.name for layer in space.layers), space.labels, values, base / 4 / optimism)
    conditions = Conditions(this_machine().name, "fake", precision, 1, 1)
    table = LatencyTable(grid, SpaceKey.of(space), conditions, statistic="median", created="2026-01-01")
    path = folder / f"latency-{precision}-{optimism}.json"
    write_latency_table(table, path, overwrite=True)
    return StoredTable(path, table)


def accuracy(space: Space, folder: Path) -> StoredAccuracy:
    """The larger the block, the better."""
    values = tuple(tuple(60.0 + 5 * place for place in range(len(layer.labels))) for layer in space.layers)
    grid = Grid(tuple(layer.name for layer in space.layers), space.labels, values)
    table = AccuracyTable.from_top1(grid, space=SpaceKey.of(space), created="2026-01-01")
    write_accuracy_table(table, folder / "accuracy.json", overwrite=True)
    return StoredAccuracy(folder / "accuracy.json", table)


def task(
    space: Space, folder: Path, latency_ms: float, *stored: StoredTable, weights: WeightsSource | None = None
) -> Task:
    given = stored or (tables(space, folder),)
    return Task(
        given, accuracy(space, folder), Budget(latency_ms=latency_ms), space, weights or random_source()
    )


def middle_ms(space: Space) -> float:
    least, most = (tuple(layer.labels[place] for layer in space.layers) for place in (0, -1))
    return (device_ms(space, least) + device_ms(space, most)) / 2
