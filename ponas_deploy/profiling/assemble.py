"""From what the clock said to a certified table: statistic, correction, certificate, intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from ponas_deploy.fitting.correction import TimedNetwork, certify, correct, scale
from ponas_deploy.measuring.affordable import in_waves
from ponas_deploy.measuring.detrend import measurements
from ponas_deploy.measuring.protocol import Plan, Samples, is_settled
from ponas_deploy.profiling.models import blocks_of
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.measured_how import MeasurementProtocol
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.statistics import choose_statistic
from searchspace.architecture import only_network
from searchspace.space import HEAD, STEM, Space, is_empty

Measured = Mapping[str, Measurement]
"""What was timed, by key, with the machine's level at each round."""
Texts = tuple[tuple[str, str], ...]
"""Names and what they stand for."""


@dataclass(frozen=True, slots=True)
class NetworkSplit:
    """Whole networks by their text form: those to fit on, and those to check with."""

    fit: tuple[str, ...]
    check: tuple[str, ...]

    def waves(self, size: int) -> tuple[tuple[str, ...], ...]:
        """All of them in groups of at most `size` (`affordable.in_waves`)."""
        return in_waves((*self.fit, *self.check), size)


def assemble(
    space: Space,
    conditions: Conditions,
    samples: Samples,
    networks: NetworkSplit,
    plan: Plan,
    *,
    environment: Texts,
    protocol: MeasurementProtocol,
) -> LatencyTable:
    """Choose the statistic, correct the cells, certify the result; MeasurementError when that fails.

    Of a space that has but one network the cells are scaled to that one, which leaves none to certify them.
    """
    measured = measurements(samples)
    fit, check = timed(measured, networks.fit), timed(measured, networks.check)
    statistic = choose_statistic(tuple(measured.values()))
    isolated = _isolated(space, measured, statistic)
    alone = only_network(space) is not None
    grid, correction = (
        scale(isolated, fit, statistic) if alone else correct(isolated, space.cells(), fit, statistic)
    )
    blocks = tuple((key, measured[key]) for key in blocks_of(space))
    return LatencyTable(
        grid=grid,
        isolated=isolated,
        space=SpaceKey.of(space),
        conditions=conditions,
        intervals_ms=_intervals(space, measured, statistic, isolated, grid),
        statistic=statistic,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=environment,
        protocol=protocol,
        cell_keys=tuple(tuple(cell.key for cell in row) for row in space.cells()),
        measurements=blocks,
        correction=correction,
        certificate=None if alone else certify(grid, isolated, check, statistic),
        unsettled=tuple(key for key, m in blocks if not is_settled(m, plan, statistic)),
    )


def timed(measured: Measured, texts: Sequence[str]) -> tuple[TimedNetwork, ...]:
    """Whole networks by their text form, with their rounds."""
    return tuple(TimedNetwork(tuple(text.split(",")), measured[text]) for text in texts)


def _isolated(space: Space, measured: Measured, statistic: str) -> Grid:
    def value(key: str) -> float:
        return 0.0 if is_empty(key) else measured[key].value_ms(statistic)

    return Grid(
        tuple(layer.name for layer in space.layers),
        space.labels,
        tuple(tuple(value(cell.key) for cell in row) for row in space.cells()),
        value(STEM) + value(HEAD),
    )


def _intervals(
    space: Space, measured: Measured, statistic: str, isolated: Grid, grid: Grid
) -> tuple[tuple[tuple[float, float], ...], ...]:
    """The isolated cells' intervals, scaled as their values were by the correction."""

    def scaled(key: str, before: float, after: float) -> tuple[float, float]:
        if is_empty(key):
            return 0.0, 0.0
        low, high = measured[key].interval_ms(statistic)
        return low * after / before, high * after / before

    return tuple(
        tuple(scaled(cell.key, before, after) for cell, before, after in zip(row, old, new, strict=True))
        for row, old, new in zip(space.cells(), isolated.values, grid.values, strict=True)
    )
