"""The latency table: what each candidate costs on one device, with the proof of how well it predicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from math import sqrt
from pathlib import Path
from statistics import NormalDist, stdev
from typing import Any

from ponas_deploy.files.records import Faults, Record, write_json
from ponas_deploy.tables.cells import ISOLATED_MS, LATENCY_MS, Column, Rows, grid_of, rows_of_record
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.measurement import Measurement

FORMAT = "ponas.latency-table/1"
_KINDS = 3
"""So many kinds of networks certify a table (`spread`)."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a latency is a latency of: tables that differ here are never mixed.

    `streams` are those that runs overlap on; what is measured here runs on one.
    """

    device: str
    backend: str
    precision: str
    threads: int
    batch: int
    streams: int = 1

    @classmethod
    def from_record(cls, record: Record) -> Conditions:
        """Read what `document` wrote."""
        return cls(
            record.text("device"),
            record.text("backend"),
            record.text("precision"),
            record.integer("threads", least=1),
            record.integer("batch", least=1),
            record.integer("streams", least=1) if "streams" in record else 1,
        )

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
    measured_ms: float
    measurement: Measurement

    @property
    def error_pct(self) -> float:
        """Prediction over measurement, in percent of the measurement; positive when predicted too slow."""
        return 100 * (self.predicted_ms / self.measured_ms - 1)


@dataclass(frozen=True, slots=True)
class Correction:
    """How isolated cells became the table's values: fitted on whole networks.

    `method` names the model; `parameters` are its numbers, for the record. The corrected values
    themselves stand in the table.
    """

    method: str
    parameters: tuple[tuple[str, float], ...]
    networks: tuple[NetworkLatency, ...]


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
    networks: tuple[NetworkLatency, ...]

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

    `grid` holds the values the search adds up, in milliseconds: corrected where there is a
    correction. `isolated` holds what the cells took on their own. Both are (layers, candidates)
    with a constant `fixed` for stem and head. `rounds` holds the conditions of each round it was measured in.
    """

    grid: Grid
    space: SpaceKey | None = None
    conditions: Conditions | None = None
    isolated: Grid | None = None
    intervals_ms: tuple[tuple[tuple[float, float], ...], ...] = ()
    statistic: str = ""
    created: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    protocol: tuple[tuple[str, str], ...] = ()
    cell_keys: tuple[tuple[str, ...], ...] = ()
    measurements: tuple[tuple[str, Measurement], ...] = ()
    correction: Correction | None = None
    certificate: Certificate | None = None
    unsettled: tuple[str, ...] = ()
    rounds: tuple[dict[str, Any], ...] = ()

    def predict_ms(self, choices: Sequence[str]) -> float:
        """Predicted latency of a network, in milliseconds."""
        return self.grid.total(choices)

    def scaled(self, factor: float) -> LatencyTable:
        """The same table with every corrected value times `factor`: what a measured residual teaches."""
        return replace(self, grid=self.grid.scaled(factor))


def write_latency_table(table: LatencyTable, path: Path, *, overwrite: bool = False) -> None:
    """Write a table; OverwriteError unless `overwrite`."""
    write_json(path, FORMAT, dict(document(table)), overwrite=overwrite)


def latency_from_record(record: Record, faults: Faults) -> LatencyTable:
    """A table as far as it can be read; what cannot becomes a fault that names its place."""
    rows = rows_of_record(record, faults)
    first = rows[0][0].values if rows else {}
    return LatencyTable(
        grid=_grid(record, rows, LATENCY_MS, faults),
        isolated=_grid(record, rows, ISOLATED_MS, faults) if "isolated_ms" in first else None,
        intervals_ms=faults.attempt(lambda: _intervals(record.path, rows), ()) if "low_ms" in first else (),
        cell_keys=faults.attempt(lambda: _keys(record.path, rows), ()) if "key" in first else (),
        space=record.optional("space", SpaceKey.from_record, faults),
        conditions=record.optional("conditions", Conditions.from_record, faults),
        statistic=faults.attempt(lambda: record.text("statistic"), ""),
        created=faults.attempt(lambda: record.text("created"), ""),
        environment=faults.attempt(lambda: record.strings("environment"), ()),
        protocol=faults.attempt(lambda: record.strings("protocol"), ()),
        measurements=faults.attempt(lambda: _read_measurements(record), ()),
        correction=record.optional("correction", _read_correction, faults),
        certificate=record.optional("certificate", _read_certificate, faults),
        unsettled=faults.attempt(lambda: record.texts("unsettled"), ()),
        rounds=faults.attempt(lambda: _read_rounds(record), ()),
    )


def _grid(record: Record, rows: Rows, column: Column, faults: Faults) -> Grid:
    key = f"fixed_{column.name}"
    fixed = faults.attempt(lambda: record.number(key), 0.0) if key in record else 0.0
    corrected = column is LATENCY_MS and "correction" in record  # a fitted line has an intercept
    if fixed < 0 and not corrected:
        faults.add(record.error(key, f"is {fixed:g}, a constant that nothing corrected cannot be negative."))
    return grid_of(record.path, rows, column, fixed, faults)


def _intervals(path: Path, rows: Rows) -> tuple[tuple[tuple[float, float], ...], ...]:
    cells = [[Record(path, cell.where, cell.values) for cell in row] for row in rows]
    return tuple(tuple((cell.number("low_ms"), cell.number("high_ms")) for cell in row) for row in cells)


def _keys(path: Path, rows: Rows) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(Record(path, cell.where, cell.values).text("key") for cell in row) for row in rows)


def _read_rounds(record: Record) -> tuple[dict[str, Any], ...]:
    return tuple(one.data for one in record.records("rounds")) if "rounds" in record else ()


def _read_measurements(record: Record) -> tuple[tuple[str, Measurement], ...]:
    return tuple((one.text("key"), _read_measurement(one)) for one in record.records("measurements"))


def _read_measurement(record: Record) -> Measurement:
    rounds_ns = record.numbers("rounds_ns")
    if not rounds_ns or min(rounds_ns) <= 0:
        found = f"holds {min(rounds_ns):g}, every round must be above zero" if rounds_ns else "holds no round"
        raise record.error("rounds_ns", f"{found}.")
    levels = record.numbers("levels") if "levels" in record else ()
    if levels and (len(levels) != len(rounds_ns) or min(levels) <= 0):
        raise record.error("levels", f"must be {len(rounds_ns)} numbers above zero, one for each round.")
    return Measurement(record.integer("runs", least=1), rounds_ns, levels)


def document(table: LatencyTable) -> Iterator[tuple[str, Any]]:
    """The table as JSON, key by key, without the format."""
    yield "space", table.space and table.space.document()
    yield "conditions", table.conditions and table.conditions.document()
    yield "created", table.created
    yield "statistic", table.statistic
    yield "environment", dict(table.environment)
    yield "protocol", dict(table.protocol)
    yield "fixed_latency_ms", table.grid.fixed
    if table.isolated:
        yield "fixed_isolated_ms", table.isolated.fixed
    yield (
        "layers",
        [
            {"name": name, "cells": [_cell(table, row, column) for column in range(len(labels))]}
            for row, (name, labels) in enumerate(zip(table.grid.layers, table.grid.candidates, strict=True))
        ],
    )
    yield "unsettled", list(table.unsettled)
    yield "rounds", list(table.rounds)
    yield "correction", table.correction and _correction(table.correction)
    yield "certificate", table.certificate and _certificate(table.certificate)
    yield (
        "measurements",
        [{"key": key, **_measurement(measurement)} for key, measurement in table.measurements],
    )


def _cell(table: LatencyTable, row: int, column: int) -> dict[str, Any]:
    cell: dict[str, Any] = {
        "candidate": table.grid.candidates[row][column],
        "latency_ms": table.grid.values[row][column],
    }
    if table.isolated:
        cell["isolated_ms"] = table.isolated.values[row][column]
    if table.intervals_ms:
        cell["low_ms"], cell["high_ms"] = table.intervals_ms[row][column]
    if table.cell_keys:
        cell["key"] = table.cell_keys[row][column]
    return cell


def _network(network: NetworkLatency) -> dict[str, Any]:
    return {
        "choices": ",".join(network.choices),
        "isolated_ms": network.isolated_ms,
        "predicted_ms": network.predicted_ms,
        "measured_ms": network.measured_ms,
        **_measurement(network.measurement),
    }


def _measurement(measurement: Measurement) -> dict[str, Any]:
    levels = {"levels": list(measurement.levels)} if measurement.levels else {}
    return {"runs": measurement.runs, "rounds_ns": [round(ns) for ns in measurement.rounds_ns], **levels}


def _correction(correction: Correction) -> dict[str, Any]:
    return {
        "method": correction.method,
        "parameters": dict(correction.parameters),
        "networks": [_network(network) for network in correction.networks],
    }


_CERTIFIED = (
    "mean_error_pct",
    "worst_error_pct",
    "isolated_mean_error_pct",
    "kendall_tau",
    "noise_floor_pct",
    "noise_tau",
)


def _certificate(certificate: Certificate) -> dict[str, Any]:
    numbers = {key: getattr(certificate, key) for key in _CERTIFIED}
    return {**numbers, "networks": [_network(network) for network in certificate.networks]}


def _read_network(record: Record) -> NetworkLatency:
    measured_ms = record.number("measured_ms")
    if measured_ms <= 0:
        raise record.error("measured_ms", f"is {measured_ms:g}, a latency must be above zero.")
    return NetworkLatency(
        tuple(record.text("choices").split(",")),
        record.number("isolated_ms"),
        record.number("predicted_ms"),
        measured_ms,
        _read_measurement(record),
    )


def _read_correction(record: Record) -> Correction:
    parameters = record.record("parameters")
    return Correction(
        record.text("method"),
        tuple((key, parameters.number(key)) for key in parameters.data),
        tuple(_read_network(network) for network in record.records("networks")),
    )


def _read_certificate(record: Record) -> Certificate:
    networks = tuple(_read_network(network) for network in record.records("networks"))
    return Certificate(**{key: record.number(key) for key in _CERTIFIED}, networks=networks)
