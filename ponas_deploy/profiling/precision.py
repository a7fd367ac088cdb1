"""The precision of a latency table: of cells of the front, other cells, and whole networks. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from ponas_deploy.search.pareto import front
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.latency import LatencyTable


@dataclass(frozen=True, slots=True)
class Precision:
    """Half the width of 95 % intervals in percent of the value, the median; None where nothing was timed.

    `front_cells` of `cells` distinct ones are in networks of the front; without an accuracy table it is
    not known which, and all count as others.
    """

    front_cells: int
    cells: int
    front_pct: float | None
    others_pct: float | None
    networks_pct: float | None

    @property
    def text(self) -> str:
        """One line for people."""
        named = (
            (f"{self.front_cells} cells of the front", self.front_pct),
            ("others" if self.front_cells else "cells", self.others_pct),
            ("whole networks", self.networks_pct),
        )
        known = [f"{name} ±{value:.1f} %" for name, value in named if value is not None]
        return (
            f"known to (median of 95 % intervals): {', '.join(known)}" if known else "nothing was timed here"
        )


def precision_of(table: LatencyTable, accuracy: AccuracyTable | None = None) -> Precision:
    """The precision of a table by its rounds; TableMismatchError when `accuracy` is of another space."""
    widths = _cells_pct(table)
    on_front = _on_front(table, accuracy) if accuracy and widths else frozenset[str]()
    return Precision(
        len(on_front),
        len(widths),
        _median(widths[key] for key in on_front),
        _median(value for key, value in widths.items() if key not in on_front),
        _median(_networks_pct(table)),
    )


def _cells_pct(table: LatencyTable) -> dict[str, float]:
    """By the cell's key; by its place in a table that has no keys."""
    return {
        _key(table, layer, place): half_pct(interval, table.grid.values[layer][place])
        for layer, intervals in enumerate(table.intervals_ms)
        for place, interval in enumerate(intervals)
    }


def _on_front(table: LatencyTable, accuracy: AccuracyTable) -> frozenset[str]:
    rows = front(table, accuracy).choices.tolist()
    return frozenset(_key(table, layer, place) for row in rows for layer, place in enumerate(row))


def _key(table: LatencyTable, layer: int, place: int) -> str:
    return table.cell_keys[layer][place] if table.cell_keys else f"{layer},{place}"


def _networks_pct(table: LatencyTable) -> Iterator[float]:
    for part in (table.correction, table.certificate):
        for network in part.networks if part else ():
            yield half_pct(network.measurement.interval_ms(table.statistic), network.measured_ms)


def half_pct(interval: tuple[float, float], value: float) -> float:
    """Half the width of an interval in percent of a value."""
    return 50 * (interval[1] - interval[0]) / value if value else 0.0


def _median(values: Iterator[float]) -> float | None:
    found = list(values)
    return median(found) if found else None
