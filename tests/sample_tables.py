"""Tables for tests: complete ones of the PONAS space, made up by formula, and plain CSV files."""

from __future__ import annotations

from pathlib import Path

from ponas_deploy.tables.accuracy import AccuracyCertificate, AccuracyOrigin, AccuracyTable
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Certificate, Conditions, Correction, LatencyTable, NetworkLatency
from ponas_deploy.tables.measured_how import MeasurementProtocol
from ponas_deploy.tables.measurement import Measurement
from searchspace import build_space
from searchspace.cost import cost_table, count_macs

SPACE = build_space("ponas")
LAYERS = tuple(layer.name for layer in SPACE.layers)
KEYS = tuple(tuple(cell.key for cell in row) for row in SPACE.cells())


def latency_table(backend: str = "onnxruntime", factor: float = 1.0) -> LatencyTable:
    """A table with every part a table can have; a block takes its MACs at 4 G a millisecond, and 0.02 ms."""
    _, macs = cost_table(count_macs, SPACE)
    isolated = tuple(tuple(factor * (0.02 + value / 4e8) for value in row) for row in macs)
    grid = Grid(LAYERS, SPACE.labels, isolated, 0.5 * factor)
    corrected = grid.scaled(0.9)
    network = NetworkLatency(SPACE.labels[0], 2.0, 1.9, 1.95, Measurement(3, (1.95e6, 1.96e6)))
    return LatencyTable(
        grid=corrected,
        space=SpaceKey.of(SPACE),
        conditions=Conditions("test-board", backend, "fp32", 1, 1),
        isolated=grid,
        intervals_ms=tuple(tuple((0.99 * value, 1.01 * value) for value in row) for row in corrected.values),
        statistic="q10",
        created="2025-11-20T10:00:00Z",
        environment=(("processor", "none"), (backend, "1.0")),
        protocol=MeasurementProtocol(rounds=(20,)),
        cell_keys=KEYS,
        measurements=((KEYS[0][0], Measurement(5, (100000.0, 100001.0))),),
        correction=Correction("line", (("slope", 0.9), ("offset_ms", 0.0)), (network,)),
        certificate=Certificate(1.2, 2.5, 14.0, 0.98, 0.4, 0.99, (network,)),
        unsettled=(),
    )


def accuracy_table() -> AccuracyTable:
    """Larger blocks are better, by tenths of a percent; no two of a layer are equal."""
    top1 = tuple(tuple(80 + layer / 10 + index / 10 for index in range(12)) for layer in range(19))
    return AccuracyTable.from_top1(
        Grid(LAYERS, SPACE.labels, top1),
        space=SpaceKey.of(build_space("ponas", 32, 10)),
        origin=AccuracyOrigin(
            "digits", "fine-tuning", 32, 10, 360, (("meta", 8), ("tune", 1)), 0, (("a", "b"),)
        ),
        created="2025-11-20",
        certificate=AccuracyCertificate(24, 0.7, 0.5, 0.8, 0.85, 0.4),
    )


def write_csv(path: Path, grid: Grid, column: str) -> Path:
    """A grid as other people's CSV."""
    rows = [f"layer,candidate,{column}"]
    for layer, labels, values in zip(grid.layers, grid.candidates, grid.values, strict=True):
        rows += [f"{layer},{label},{value!r}" for label, value in zip(labels, values, strict=True)]
    rows += [f",fixed,{grid.fixed!r}"] if grid.fixed else []
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path
