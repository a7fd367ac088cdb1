"""Latency tables that lie in the store of a test."""

from __future__ import annotations

from dataclasses import replace

from ponas_deploy.backends import get_backend
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.tables import store
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.store import StoredTable
from searchspace.space import Space


def stored(space: Space, device: str, backend: str = "onnxruntime", **changes: object) -> StoredTable:
    values = tuple(tuple(1.0 for _ in layer.labels) for layer in space.layers)
    conditions = Conditions(device, backend, "fp32", 1, 1)
    environment = (*this_machine().environment(), *get_backend(backend).environment())
    table = replace(
        LatencyTable(
            Grid(tuple(layer.name for layer in space.layers), space.labels, values),
            SpaceKey.of(space),
            conditions,
            statistic="median",
            created="2026-01-01",
            environment=environment,
        ),
        **changes,
    )
    path = store.latency_path(table.conditions or conditions, SpaceKey.of(space))
    write_latency_table(table, path, overwrite=True)
    return StoredTable(path, table)
