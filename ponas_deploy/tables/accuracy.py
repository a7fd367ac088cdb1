"""The accuracy table: what each candidate is worth, as the paper's table T (section 3.1, eq. 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ponas_deploy.records import Faults, Record, write_json
from ponas_deploy.tables.cells import LOSS_PP, TOP1_PCT, grid_of, rows_of_record
from ponas_deploy.tables.grid import Grid, SpaceKey

FORMAT = "ponas.accuracy-table/1"


@dataclass(frozen=True, slots=True)
class AccuracyOrigin:
    """What an accuracy table was made on: printed with every output that uses it.

    `resolution` in pixels; `images` are the validation images behind each entry.
    """

    data: str
    method: str
    resolution: int
    classes: int
    images: int
    epochs: tuple[tuple[str, int], ...]
    seed: int
    details: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """One line for people."""
        images = f", {self.images} validation images" if self.images else ""
        return f"{self.method} on {self.data} at {self.resolution} px{images}"


@dataclass(frozen=True, slots=True)
class AccuracyCertificate:
    """How well summed losses rank networks that were really evaluated (rank correlations)."""

    networks: int
    kendall_tau: float
    kendall_tau_low: float
    kendall_tau_high: float
    spearman: float
    noise_pp: float


@dataclass(frozen=True, slots=True)
class AccuracyTable:
    """Top-1 in percent (layers, candidates), where it was measured, and the loss it implies.

    `loss` is the paper's table T_d (section 3.3): the best of the layer minus the candidate, in
    percentage points, zero for the best.
    """

    loss: Grid
    top1: Grid | None = None
    space: SpaceKey | None = None
    origin: AccuracyOrigin | None = None
    created: str = ""
    certificate: AccuracyCertificate | None = None

    @classmethod
    def from_top1(cls, top1: Grid, **known: Any) -> AccuracyTable:
        """The table of accuracies in percent; the loss is taken layer by layer."""
        values = tuple(tuple(max(row) - value for value in row) for row in top1.values)
        return cls(loss=replace(top1, values=values), top1=top1, **known)

    def loss_pp(self, choices: Sequence[str]) -> float:
        """The summed loss of a network, in percentage points."""
        return self.loss.total(choices)


def write_accuracy_table(table: AccuracyTable, path: Path, *, overwrite: bool = False) -> None:
    """Write a table; OverwriteError unless `overwrite`."""
    write_json(path, FORMAT, dict(document(table)), overwrite=overwrite)


def accuracy_from_record(record: Record, faults: Faults) -> AccuracyTable:
    """A table as far as it can be read; what cannot becomes a fault that names its place.

    The values are accuracies, or losses where a cell holds one.
    """
    rows = rows_of_record(record, faults)
    losses = any(LOSS_PP.name in cell.values for row in rows for cell in row)
    column = LOSS_PP if losses else TOP1_PCT
    key = f"fixed_{column.name}"
    fixed = faults.attempt(lambda: record.number(key), 0.0) if key in record else 0.0
    grid = grid_of(record.path, rows, column, fixed, faults)
    known: dict[str, Any] = {
        "space": record.optional("space", SpaceKey.from_record, faults),
        "origin": record.optional("origin", _read_origin, faults),
        "created": faults.attempt(lambda: record.text("created"), ""),
        "certificate": record.optional("certificate", _read_certificate, faults),
    }
    return AccuracyTable(grid, **known) if losses else AccuracyTable.from_top1(grid, **known)


def document(table: AccuracyTable) -> Iterator[tuple[str, Any]]:
    """The table as JSON, key by key, without the format."""
    grid, key = (table.top1, "top1_pct") if table.top1 else (table.loss, "loss_pp")
    yield "space", table.space and table.space.document()
    yield "origin", table.origin and _origin(table.origin)
    yield "created", table.created
    yield "certificate", table.certificate and {key: getattr(table.certificate, key) for key in _CERTIFIED}
    if grid.fixed:
        yield f"fixed_{key}", grid.fixed
    yield (
        "layers",
        [
            {
                "name": name,
                "cells": [
                    {"candidate": label, key: value} for label, value in zip(labels, values, strict=True)
                ],
            }
            for name, labels, values in zip(grid.layers, grid.candidates, grid.values, strict=True)
        ],
    )


def _origin(origin: AccuracyOrigin) -> dict[str, Any]:
    return {
        "data": origin.data,
        "method": origin.method,
        "resolution": origin.resolution,
        "classes": origin.classes,
        "images": origin.images,
        "epochs": dict(origin.epochs),
        "seed": origin.seed,
        "details": dict(origin.details),
    }


def _read_origin(record: Record) -> AccuracyOrigin:
    epochs = record.record("epochs")
    return AccuracyOrigin(
        data=record.text("data"),
        method=record.text("method"),
        resolution=record.integer("resolution", least=1),
        classes=record.integer("classes", least=1),
        images=record.integer("images", least=0),
        epochs=tuple((stage, epochs.integer(stage, least=0)) for stage in epochs.data),
        seed=record.integer("seed"),
        details=record.strings("details"),
    )


_CERTIFIED = ("networks", "kendall_tau", "kendall_tau_low", "kendall_tau_high", "spearman", "noise_pp")


def _read_certificate(record: Record) -> AccuracyCertificate:
    _, *numbers = _CERTIFIED
    return AccuracyCertificate(
        record.integer("networks", least=1), **{key: record.number(key) for key in numbers}
    )
