"""What `ponas networks --json` prints."""

from __future__ import annotations

from dataclasses import dataclass

from ponas_deploy.profiling.random_networks import RandomNetworks
from ponas_deploy.tables.latency import Conditions


@dataclass(frozen=True, slots=True)
class MeasuredNetworks:
    """What `ponas networks --json` prints: the file of whole networks, which holds each in two rows."""

    path: str
    conditions: Conditions
    networks: int
    rows: int
    fastest_ms: float
    slowest_ms: float


def measured_networks(made: RandomNetworks) -> MeasuredNetworks:
    """Whole networks that were measured and written to a file."""
    found = made.networks
    fastest_ms, slowest_ms = min(found.values), max(found.values)
    return MeasuredNetworks(
        str(found.path), made.conditions, len(set(found.choices)), len(found), fastest_ms, slowest_ms
    )
