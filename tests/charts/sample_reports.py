"""Reports for tests: of the shipped tables of a device, and of small tables of anybody's."""

from __future__ import annotations

from pathlib import Path

from ponas_deploy.charts.report import Asked, Report, report_of
from ponas_deploy.charts.stock import ComparedNetworks, MeasuredPoint
from ponas_deploy.charts.timed import TimedNetwork
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.manifest import Manifest
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.tables import store
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.store import StoredAccuracy, StoredTable
from sample_tables import SPACE
from searchspace import parse_architecture

WHEN = "2026-01-02 03:04 UTC"
EPYC = ("onnxruntime-fp32", "openvino-bf16", "openvino-fp32")
TIMED = TimedNetwork("net.onnx", "a board, onnxruntime 1.0 fp32", (("a (Conv)", 2.0), ("b (Add)", 0.5)))


def shipped_report() -> Report:
    """Three tables that are shipped, each with a front of more than 500 networks, and an engine."""
    tables = [store.latency_table(f"amd-epyc-2c/{name}-t1-b1-ponas-224px-1000c") for name in EPYC]
    return report_of(Asked(tables, engine=engine(tables[0].conditions), timed=TIMED), WHEN)


def engine(conditions: Conditions, *, trained: bool = False) -> Engine:
    """PONAS-A in a folder that is not there, as it was measured."""
    network = parse_architecture("PONAS-A", SPACE)
    made = Manifest.of(network, conditions, "random (seed 0), not trained", "2026-01-02T03:04:05+00:00")
    timing = EngineTiming(((4e6, 4.1e6, 4.2e6), (4e6, 4.1e6, 4.2e6)))
    values = {name: getattr(made, name) for name in ("space", "choices", "conditions", "weights", "created")}
    manifest = Manifest(**values, measured=timing, trained=trained, engine_file="engine.onnx")
    return Engine(Path("my engine"), manifest)


def small(
    latencies: list[list[float]],
    losses: list[list[float]],
    layers: tuple[str, ...] = ("a", "b"),
    labels: tuple[str, ...] = ("x", "y"),
) -> Asked:
    """Tables of anybody's space, without conditions."""
    candidates = (labels,) * len(layers)
    cost = LatencyTable(Grid(layers, candidates, tuple(map(tuple, latencies))))
    lost = AccuracyTable(Grid(layers, candidates, tuple(map(tuple, losses))))
    return Asked(
        [StoredTable(Path("their-latency.csv"), cost)], [StoredAccuracy(Path("their-loss.csv"), lost)]
    )


def compared(*networks: MeasuredPoint, conditions: Conditions | None = None) -> ComparedNetworks:
    """Networks of a comparison."""
    return ComparedNetworks(Path("compared.json"), conditions, networks)
