"""Accuracy tables as documents: `ponas.accuracy-table/1`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType

from ponas_deploy.files.bounds import AtLeastZero, Classes, Count, Epochs, Percent, Resolution, Seed
from ponas_deploy.files.documents import Format, RawDocument, compact, encoded
from ponas_deploy.files.records import Faults, write_json
from ponas_deploy.tables.accuracy import AccuracyCertificate, AccuracyOrigin, AccuracyTable
from ponas_deploy.tables.cells import LOSS_PP, TOP1_PCT, grid_of, rows_of
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.resolution_terms import ResolutionTerms
from ponas_deploy.tables.top1 import Top1Scale


@dataclass(frozen=True, slots=True)
class AccuracyCell:
    """One candidate of one layer: its top-1 in percent, or its loss in percentage points."""

    candidate: str
    top1_pct: Percent | UnsetType = UNSET
    loss_pp: AtLeastZero | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class AccuracyLayer:
    """One layer and its candidates."""

    name: str
    cells: tuple[AccuracyCell, ...]


@dataclass(frozen=True, slots=True)
class OriginDocument:
    """See `AccuracyOrigin`."""

    data: str
    method: str
    resolution: Resolution
    classes: Classes
    images: Count
    epochs: Mapping[str, Epochs]
    seed: Seed
    details: Mapping[str, str]
    weights: str = ""


@dataclass(frozen=True, slots=True)
class AccuracyTableDocument:
    """See `AccuracyTable`; `layers` hold what was measured, cell by cell."""

    space: SpaceKey | None
    origin: OriginDocument | None
    created: str
    certificate: AccuracyCertificate | None
    layers: tuple[AccuracyLayer, ...]
    fixed_top1_pct: float | UnsetType = UNSET
    fixed_loss_pp: float | UnsetType = UNSET
    top1_scale: Top1Scale | UnsetType = UNSET
    resolution_terms: ResolutionTerms | UnsetType = UNSET


ACCURACY_TABLE = Format("ponas.accuracy-table", 1, AccuracyTableDocument)
FORMAT = ACCURACY_TABLE.tag


def write_accuracy_table(table: AccuracyTable, path: Path, *, overwrite: bool = False) -> None:
    """Write a table; OverwriteError unless `overwrite`."""
    write_json(path, FORMAT, accuracy_document(table), overwrite=overwrite)


def accuracy_from_raw(raw: RawDocument, faults: Faults) -> AccuracyTable:
    """A table as far as it can be read; what cannot becomes a fault that names its place.

    The values are accuracies, or losses where a cell holds one.
    """
    rows = rows_of(raw, faults)
    losses = any(LOSS_PP.name in cell.values for row in rows for cell in row)
    column = LOSS_PP if losses else TOP1_PCT
    key = f"fixed_{column.name}"
    fixed = faults.attempt(lambda: raw.part(key, float), 0.0) if key in raw else 0.0
    grid = grid_of(raw.path, rows, column, fixed, faults)

    def optional(key: str, kind: Any) -> Any:
        return faults.attempt(lambda: raw.part(key, kind), None) if key in raw else None

    origin = optional("origin", OriginDocument)
    known: dict[str, Any] = {
        "space": optional("space", SpaceKey),
        "origin": origin and _origin(origin),
        "created": faults.attempt(lambda: raw.part("created", str), ""),
        "certificate": optional("certificate", AccuracyCertificate),
        "top1_scale": optional("top1_scale", Top1Scale),
        "resolution_terms": optional("resolution_terms", ResolutionTerms),
    }
    return AccuracyTable(grid, **known) if losses else AccuracyTable.from_top1(grid, **known)


def _origin(found: OriginDocument) -> AccuracyOrigin:
    values = {
        **encoded(found),
        "epochs": tuple(found.epochs.items()),
        "details": tuple(found.details.items()),
    }
    return AccuracyOrigin(**values)


def _origin_document(origin: AccuracyOrigin) -> dict[str, Any]:
    known = {**asdict(origin), "epochs": dict(origin.epochs), "details": dict(origin.details)}
    return {name: value for name, value in known.items() if name != "weights" or value}


def accuracy_document(table: AccuracyTable) -> dict[str, Any]:
    """The table as JSON, without the format."""
    grid, key = (table.top1, "top1_pct") if table.top1 else (table.loss, "loss_pp")
    origin, certificate = table.origin, table.certificate
    return {
        "space": encoded(table.space),
        "origin": origin and _origin_document(origin),
        "created": table.created,
        "certificate": certificate and compact(certificate),
        **({"top1_scale": compact(table.top1_scale)} if table.top1_scale else {}),
        **({"resolution_terms": encoded(table.resolution_terms)} if table.resolution_terms else {}),
        **({f"fixed_{key}": grid.fixed} if grid.fixed else {}),
        "layers": [
            {
                "name": name,
                "cells": [
                    {"candidate": label, key: value} for label, value in zip(labels, values, strict=True)
                ],
            }
            for name, labels, values in zip(grid.layers, grid.candidates, grid.values, strict=True)
        ],
    }
