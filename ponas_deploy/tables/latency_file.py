"""Latency tables as documents: `ponas.latency-table/2`, and version 1 as it was written before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from msgspec import UNSET, UnsetType

from ponas_deploy.files.bounds import AboveZero, AtLeastZero, Positive
from ponas_deploy.files.documents import (
    Format,
    RawDocument,
    compact,
    converted,
    encoded,
    refuse_infinite,
    refuse_unknown,
)
from ponas_deploy.files.records import Faults, write_json
from ponas_deploy.tables.cells import ISOLATED_MS, LATENCY_MS, Column, RawCell, Rows, grid_of, rows_of
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import (
    Certificate,
    Conditions,
    Correction,
    LatencyTable,
    NetworkLatency,
)
from ponas_deploy.tables.latency_upgrade import upgraded
from ponas_deploy.tables.measured_how import MeasurementProtocol
from ponas_deploy.tables.measurement import Measurement, check_rounds
from ponas_deploy.tables.rounds import Round


@dataclass(frozen=True, slots=True)
class LatencyCell:
    """One candidate of one layer: its value, what it took alone, an interval, and what was timed."""

    candidate: str
    latency_ms: AtLeastZero
    isolated_ms: AtLeastZero | UnsetType = UNSET
    low_ms: float | UnsetType = UNSET
    high_ms: float | UnsetType = UNSET
    key: str | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class LatencyLayer:
    """One layer and its candidates."""

    name: str
    cells: tuple[LatencyCell, ...]


@dataclass(frozen=True, slots=True)
class CorrectionDocument:
    """See `Correction`."""

    method: str
    parameters: Mapping[str, float]
    networks: tuple[NetworkLatency, ...]


@dataclass(frozen=True, slots=True)
class BlockMeasurement:
    """A measurement and the key of the block that was timed."""

    key: str
    runs: Positive
    rounds_ns: tuple[AboveZero, ...]
    levels: tuple[AboveZero, ...] = ()

    def __post_init__(self) -> None:
        check_rounds(self.rounds_ns, self.levels)


@dataclass(frozen=True, slots=True)
class LatencyTableDocument:
    """See `LatencyTable`; `layers` hold its grids cell by cell."""

    space: SpaceKey | None
    conditions: Conditions | None
    created: str
    statistic: str
    environment: Mapping[str, str]
    protocol: MeasurementProtocol
    fixed_latency_ms: float
    layers: tuple[LatencyLayer, ...]
    measurements: tuple[BlockMeasurement, ...]
    correction: CorrectionDocument | None
    certificate: Certificate | None
    fixed_isolated_ms: float | UnsetType = UNSET
    unsettled: tuple[str, ...] = ()
    rounds: tuple[Round, ...] = field(default=())


Value = TypeVar("Value")

LATENCY_TABLE = Format("ponas.latency-table", 2, LatencyTableDocument, (upgraded,))
FORMAT = LATENCY_TABLE.tag


def write_latency_table(table: LatencyTable, path: Path, *, overwrite: bool = False) -> None:
    """Write a table; OverwriteError unless `overwrite`."""
    write_json(path, FORMAT, latency_document(table), overwrite=overwrite)


def latency_from_raw(raw: RawDocument, faults: Faults) -> LatencyTable:
    """A table as far as it can be read; what cannot becomes a fault that names its place."""
    rows = rows_of(raw, faults)
    first = rows[0][0].values if rows else {}

    def part(key: str, kind: Any, otherwise: Any) -> Any:
        return faults.attempt(lambda: raw.part(key, kind), otherwise)

    def optional(key: str, kind: Any, otherwise: Any = None) -> Any:
        return part(key, kind, otherwise) if key in raw else otherwise

    correction = optional("correction", CorrectionDocument)
    faults.attempt(lambda: refuse_unknown(raw.data.get("rounds"), Round, raw.path, "rounds"), None)
    return LatencyTable(
        grid=_grid(raw, rows, LATENCY_MS, faults),
        isolated=_grid(raw, rows, ISOLATED_MS, faults) if "isolated_ms" in first else None,
        intervals_ms=faults.attempt(lambda: _intervals(raw, rows), ()) if "low_ms" in first else (),
        cell_keys=faults.attempt(lambda: _keys(raw, rows), ()) if "key" in first else (),
        space=optional("space", SpaceKey),
        conditions=optional("conditions", Conditions),
        statistic=part("statistic", str, ""),
        created=part("created", str, ""),
        environment=tuple(part("environment", dict[str, str], {}).items()),
        protocol=part("protocol", MeasurementProtocol, MeasurementProtocol()),
        measurements=tuple(map(_measured, part("measurements", tuple[BlockMeasurement, ...], ()))),
        correction=correction and _correction(correction),
        certificate=optional("certificate", Certificate),
        unsettled=part("unsettled", tuple[str, ...], ()),
        rounds=optional("rounds", tuple[Round, ...], ()),
    )


def _grid(raw: RawDocument, rows: Rows, column: Column, faults: Faults) -> Grid:
    key = f"fixed_{column.name}"
    fixed = faults.attempt(lambda: raw.part(key, float), 0.0) if key in raw else 0.0
    corrected = column is LATENCY_MS and "correction" in raw  # a fitted line has an intercept
    if fixed < 0 and not corrected:
        reason = f"is {fixed:g}, a constant that nothing corrected cannot be negative."
        faults.add(raw.error(key, reason))
    return grid_of(raw.path, rows, column, fixed, faults)


def _intervals(raw: RawDocument, rows: Rows) -> tuple[tuple[tuple[float, float], ...], ...]:
    return tuple(
        tuple((_of(raw, cell, "low_ms", float), _of(raw, cell, "high_ms", float)) for cell in row)
        for row in rows
    )


def _keys(raw: RawDocument, rows: Rows) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(_of(raw, cell, "key", str) for cell in row) for row in rows)


def _of(raw: RawDocument, cell: RawCell, key: str, kind: type[Value]) -> Value:
    where = f"{cell.where}.{key}"
    if key not in cell.values:
        raise raw.error(where, "is missing.")
    refuse_infinite(cell.values[key], raw.path, where)
    return converted(cell.values[key], kind, raw.path, where)


def _measured(one: BlockMeasurement) -> tuple[str, Measurement]:
    return one.key, Measurement(one.runs, one.rounds_ns, one.levels)


def _correction(found: CorrectionDocument) -> Correction:
    return Correction(found.method, tuple(found.parameters.items()), found.networks)


def latency_document(table: LatencyTable) -> dict[str, Any]:
    """The table as JSON, without the format."""
    correction, certificate, isolated = table.correction, table.certificate, table.isolated
    return {
        "space": encoded(table.space),
        "conditions": encoded(table.conditions),
        "created": table.created,
        "statistic": table.statistic,
        "environment": dict(table.environment),
        "protocol": compact(table.protocol),
        "fixed_latency_ms": table.grid.fixed,
        **({"fixed_isolated_ms": isolated.fixed} if isolated else {}),
        "layers": encoded([_layer(table, row) for row in range(len(table.grid.layers))]),
        "unsettled": list(table.unsettled),
        "rounds": [compact(one) for one in table.rounds],
        "correction": correction
        and {
            "method": correction.method,
            "parameters": dict(correction.parameters),
            "networks": [_network(network) for network in correction.networks],
        },
        "certificate": certificate
        and {
            **encoded(certificate),
            "networks": [_network(network) for network in certificate.networks],
        },
        "measurements": [{"key": key, **_measurement(one)} for key, one in table.measurements],
    }


def _layer(table: LatencyTable, row: int) -> LatencyLayer:
    name, labels = table.grid.layers[row], table.grid.candidates[row]
    return LatencyLayer(name, tuple(_cell(table, row, column) for column in range(len(labels))))


def _cell(table: LatencyTable, row: int, column: int) -> LatencyCell:
    low_ms, high_ms = table.intervals_ms[row][column] if table.intervals_ms else (UNSET, UNSET)
    return LatencyCell(
        table.grid.candidates[row][column],
        table.grid.values[row][column],
        table.isolated.values[row][column] if table.isolated else UNSET,
        low_ms,
        high_ms,
        table.cell_keys[row][column] if table.cell_keys else UNSET,
    )


def _network(network: NetworkLatency) -> dict[str, Any]:
    return {**encoded(network), "measurement": _measurement(network.measurement)}


def _measurement(measurement: Measurement) -> dict[str, Any]:
    """A measurement in whole nanoseconds: a tenth of one says nothing."""
    return {**compact(measurement), "rounds_ns": [round(ns) for ns in measurement.rounds_ns]}
