"""A latency table of a device that nobody measured, from published figures (`board_figures`, `rooflines`).

What was measured on the device, a table of other conditions or a few networks, scales it: the geometric mean
of measured over estimated. The error that is stated stays that of estimates of other devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from math import exp, log
from statistics import fmean

from ponas_deploy.errors import TableMismatchError
from ponas_deploy.fitting.board_figures import BoardFigures, board_figures
from ponas_deploy.fitting.rooflines import estimate_ms, works_of
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import ESTIMATE, Conditions, LatencyTable
from ponas_deploy.tables.measured_how import EstimateSummary, MeasurementProtocol
from ponas_deploy.tables.networks_csv import Networks
from ponas_deploy.tables.networks_csv import in_order_of as networks_in_order_of
from ponas_deploy.tables.resolutions import at
from ponas_deploy.tables.spaces import in_order_of
from searchspace.cost import cost_table
from searchspace.ops import Op, Shape
from searchspace.space import Space

_NS_A_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Scale:
    """What estimates of a device are multiplied with, and in words where that comes from."""

    factor: float
    text: str


def estimated_conditions(
    device: str, figures: BoardFigures, precision: str = "", threads: int = 1, batch: int = 1
) -> Conditions:
    """The conditions of an estimated table; without a precision the usual one of the figures."""
    return Conditions(device, ESTIMATE, precision or next(iter(figures.tflops)), threads, batch)


def estimated_grid(space: Space, conditions: Conditions, figures: BoardFigures) -> Grid:
    """What cells, stem and head take by the figures, in ms; UnknownNameError for another precision."""
    found = board_figures().families[figures.family]

    def nanoseconds(ops: tuple[Op, ...], shape: Shape) -> int:
        works, run = tuple(works_of(ops, shape)), (conditions.threads, conditions.batch)
        return round(_NS_A_MS * estimate_ms(works, figures, found, conditions.precision, *run))

    fixed, cells = cost_table(nanoseconds, space)
    return Grid.over(space, cells, fixed).scaled(1 / _NS_A_MS)


def estimated_table(
    space: Space, conditions: Conditions, figures: BoardFigures, scale: Scale | None = None
) -> LatencyTable:
    """The table of a space by a board's figures, marked as estimated; UnknownNameError as of the grid."""
    found = board_figures().families[figures.family]
    factor, text = (scale.factor, scale.text) if scale else (1.0, "")
    summary = EstimateSummary(
        figures.title,
        figures.source,
        found.median_factor,
        found.worst_factor,
        found.checked_on,
        factor,
        text,
    )
    peak = figures.peak_tflops(conditions.precision, conditions.threads)
    return LatencyTable(
        grid=estimated_grid(space, conditions, figures).scaled(factor),
        space=SpaceKey.of(space),
        conditions=conditions,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=(
            ("board", figures.title),
            ("peak_tflops", f"{peak:g}"),
            ("bandwidth_gbs", f"{figures.bandwidth_gbs:g}"),
            ("clock_ghz", f"{figures.clock_ghz:g}"),
        ),
        protocol=MeasurementProtocol(estimate=summary),
        cell_keys=tuple(tuple(cell.key for cell in row) for row in space.cells()),
    )


def scale_by_networks(
    networks: Networks, space: Space, conditions: Conditions, figures: BoardFigures
) -> Scale:
    """The scale by networks that were measured in these conditions.

    FileFormatError for those of another space, TableMismatchError for values that are no latencies.
    """
    if networks.kind != "latency":
        raise TableMismatchError(
            f"{networks.path} holds no latencies: estimates are scaled by a last column latency_ms."
        )
    grid = estimated_grid(space, conditions, figures)
    known = networks_in_order_of(networks, grid, space)
    return _scale(grid, known.choices, networks.values, f"{networks.path.name}, {len(networks)} networks")


def scale_by_table(
    name: str, measured: LatencyTable, space: Space, conditions: Conditions, figures: BoardFigures
) -> Scale:
    """The scale by a measured table of the device, called `name`, that may be of other conditions.

    By its whole networks; where it has none by the sum of what the cells of a layer take on average.
    TableMismatchError for a table of another space or one that is estimated itself, UnknownNameError for one
    of a precision without a figure.
    """
    if measured.estimated:
        raise TableMismatchError(f"{name} is estimated itself: scale by what was measured.")
    known = in_order_of(measured.grid, measured.space, space, name)
    there = at(space, measured.space.resolution) if measured.space else space
    grid = estimated_grid(there, measured.conditions or conditions, figures)
    parts = (measured.certificate, measured.correction)
    networks = [network for part in parts if part for network in part.networks]
    if not networks:
        factor = _middle(known) / _middle(grid)
        return Scale(factor, f"{name}, the mean of its cells")
    choices = [network.choices for network in networks]
    values = [network.measured_ms for network in networks]
    return _scale(grid, choices, values, f"{name}, {len(networks)} networks")


def _scale(grid: Grid, choices: Sequence[tuple[str, ...]], values: Sequence[float], origin: str) -> Scale:
    logs = [log(value / grid.total(chosen)) for chosen, value in zip(choices, values, strict=True)]
    factor = exp(fmean(logs))
    apart = exp(max(abs(one - log(factor)) for one in logs))
    return Scale(factor, f"{origin}, which then lie within {apart:.3g} times")


def _middle(grid: Grid) -> float:
    return grid.fixed + sum(map(fmean, grid.values))
