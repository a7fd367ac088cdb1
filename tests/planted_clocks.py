"""Clocks and tables that tests of promises plant: how fast a device is, and what a table says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from conftest import tiny_space
from planted_search import device_ms
from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.engines.attempt import Attempt
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.specialize import Specialization
from ponas_deploy.tables.latency import Certificate, NetworkLatency
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.store import StoredTable

EVERY = list(product(*tiny_space().labels))
Clock = Callable[..., EngineTiming]


def spread(factors: Sequence[float]) -> Clock:
    """A clock on which every inference takes the device's own time times one of `factors`, in turn."""

    def clock(
        engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0, **place: object
    ) -> EngineTiming:
        with get_backend(backend).open(engine, settings) as session:
            true_ns = session.time_ns(1)
        return EngineTiming(tuple(tuple(round(true_ns * factor) for factor in factors) for _ in range(2)))

    return clock


class Wandering:
    """A device that is as fast as ever at each engine's first timing, and `later` times as slow after it."""

    def __init__(self, later: float) -> None:
        self.later = later
        self.seen: list[Path] = []

    def __call__(
        self, engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0, **place: object
    ) -> EngineTiming:
        factor = self.later if engine in self.seen else 1.0
        self.seen.append(engine)
        return spread([factor])(engine, backend, settings)


class Recovering:
    """A device that is half as slow again until an engine is timed a second time."""

    def __init__(self) -> None:
        self.seen = list[Path]()

    def __call__(
        self, engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0, **place: object
    ) -> EngineTiming:
        self.seen.append(engine)
        itself = len(set(self.seen)) < len(self.seen)
        return replace(spread([1.0 if itself else 1.5])(engine, backend, settings), interference=())


def with_certificate(stored: StoredTable, **figures: float) -> StoredTable:
    """The table with a certificate over every network there is, measured on the device itself."""
    space = tiny_space()
    networks = []
    for choices in EVERY:
        measured = device_ms(space, choices)
        rounds = Measurement(1, (measured * 1e6,))
        networks.append(NetworkLatency(choices, measured, stored.table.predict_ms(choices), measured, rounds))
    good = {"mean_error_pct": 1.0, "worst_error_pct": 2.0, "kendall_tau": 0.99, "noise_floor_pct": 0.0}
    proof = Certificate(
        isolated_mean_error_pct=9.0, noise_tau=0.99, networks=tuple(networks), **{**good, **figures}
    )
    table = replace(stored.table, certificate=proof)
    write_latency_table(table, stored.path, overwrite=True)
    return replace(stored, table=table)


def with_levels(stored: StoredTable, *levels: float) -> StoredTable:
    """The same table, of a machine that was seen at these levels of its speed."""
    rounds = Measurement(1, (1e6,) * len(levels), levels)
    table = replace(stored.table, measurements=(("cell", rounds),))
    write_latency_table(table, stored.path, overwrite=True)
    return replace(stored, table=table)


def hopeless(stored: StoredTable) -> StoredTable:
    return with_certificate(stored, kendall_tau=0.2)


def attempt(stored: StoredTable, predicted_ms: float, *processes_ms: float, budget_ms: float) -> Attempt:
    choice = Specialization("exact", True, Budget(latency_ms=budget_ms), (), predicted_ms, 0.0, 0.0)
    timed = EngineTiming(tuple((round(1e6 * ms),) for ms in processes_ms))
    return Attempt(1, stored, choice, predicted_ms, timing=timed)
