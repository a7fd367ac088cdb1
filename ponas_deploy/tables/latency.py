"""The latency table: what each candidate costs on one device, with a certificate of how well it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from math import sqrt
from statistics import NormalDist, stdev

from ponas_deploy.files.bounds import AboveZero, Batch, Streams, Threads
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.measured_how import MeasurementProtocol
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.rounds import Round

ESTIMATE = "estimate"
"""In place of a runtime in the conditions of what nobody measured."""
_KINDS = 3
"""So many kinds of networks certify a table (`spread`)."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a latency is a latency of: tables that differ here are never mixed.

    `streams` are those that runs overlap on, each with its `threads`.
    """

    device: str
    backend: str
    precision: str
    threads: Threads
    batch: Batch
    streams: Streams = 1

    def document(self) -> dict[str, str | int]:
        """The conditions as JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def text(self) -> str:
        """One line for people."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        streams = f", {self.streams} streams" if self.streams > 1 else ""
        return f"{self.device}, {self.backend} {self.precision}, {threads}, batch {self.batch}{streams}"


@dataclass(frozen=True, slots=True)
class NetworkLatency:
    """A whole network that was built and timed.

    `isolated_ms` is the plain sum of stem, head and cells, `predicted_ms` what the table says,
    `measured_ms` the table's statistic over the rounds. Never mixed: each has its own field.
    """

    choices: tuple[str, ...]
    isolated_ms: float
    predicted_ms: float
    measured_ms: AboveZero
    measurement: Measurement

    @property
    def error_pct(self) -> float:
        """Prediction over measurement, in percent of the measurement; positive when predicted too slow."""
        return 100 * (self.predicted_ms / self.measured_ms - 1)


SCALED = "scale"


@dataclass(frozen=True, slots=True)
class Correction:
    """How isolated cells became the table's values: fitted on whole networks.

    `method` names the model; `parameters` are its numbers, for the record. The corrected values
    themselves stand in the table. With SCALED they are what cells took times one number, by which they add up
    to the only network of their space.
    """

    method: str
    parameters: tuple[tuple[str, float], ...]
    networks: tuple[NetworkLatency, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Certificate:
    """How well the table predicts networks that had no part in fitting it.

    Errors in percent of the measured latency. The noise floor is what measuring the same networks
    twice differs by (odd against even rounds), and `noise_tau` their rank correlation: no table can
    do better.
    """

    mean_error_pct: float
    worst_error_pct: float
    isolated_mean_error_pct: float
    kendall_tau: float
    noise_floor_pct: float
    noise_tau: float
    networks: tuple[NetworkLatency, ...] = field(repr=False)

    @property
    def error_bound_pct(self) -> float:
        """What the mean error is likely at most, by a third of the networks: as many as of a kind.

        Student's 95 % bound of a mean, its quantile from the normal one (Abramowitz and Stegun, 26.7.5), as
        if only so many had been measured, because errors within a kind (`spread`) are alike.
        `docs/profiling.md` has how often it holds.
        """
        errors, z = [abs(network.error_pct) for network in self.networks], NormalDist().inv_cdf(0.95)
        if len(errors) < 2:
            return self.mean_error_pct
        kind = max(len(errors) / _KINDS, 2.0)
        free = kind - 1
        t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
        return self.mean_error_pct + t * stdev(errors) / sqrt(kind)


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """Latency of every candidate of every layer, and of stem and head.

    `grid` holds the values the search adds up, in milliseconds: corrected where there is a correction.
    `isolated` holds what the cells took on their own. Both are (layers, candidates) with a constant `fixed`
    for stem and head. `protocol` says how it was measured or fitted, `rounds` holds the interference in each
    round.
    """

    grid: Grid
    space: SpaceKey | None = None
    conditions: Conditions | None = None
    isolated: Grid | None = None
    intervals_ms: tuple[tuple[tuple[float, float], ...], ...] = field(default=(), repr=False)
    statistic: str = ""
    created: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    protocol: MeasurementProtocol = MeasurementProtocol()  # noqa: RUF009 (frozen)
    cell_keys: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    measurements: tuple[tuple[str, Measurement], ...] = field(default=(), repr=False)
    correction: Correction | None = None
    certificate: Certificate | None = None
    unsettled: tuple[str, ...] = field(default=(), repr=False)
    rounds: tuple[Round, ...] = field(default=(), repr=False)

    @property
    def power_mode(self) -> str:
        """The power mode of the device that was measured; empty where the table does not say."""
        return dict(self.environment).get("power_mode", "")

    @property
    def estimated(self) -> str:
        """That nobody measured this table and how far it may be off, in words; empty where somebody did."""
        if self.protocol.estimate:
            return self.protocol.estimate.text
        by_name = self.conditions is not None and self.conditions.backend == ESTIMATE
        return "estimated, not measured, and nothing says how far it is off" if by_name else ""

    def predict_ms(self, choices: Sequence[str]) -> float:
        """Predicted latency of a network, in milliseconds."""
        return self.grid.total(choices)

    def scaled(self, factor: float) -> LatencyTable:
        """The same table with every corrected value times `factor`: what a measured residual teaches."""
        return replace(self, grid=self.grid.scaled(factor))
