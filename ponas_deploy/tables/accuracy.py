"""The accuracy table: what each candidate is worth, as the paper's table T (section 3.1, eq. 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ponas_deploy.records import Record, read_json, write_json
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
        return f"{self.method} on {self.data} at {self.resolution} px, {self.images} validation images"


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
    write_json(path, FORMAT, dict(_document(table)), overwrite=overwrite)


def read_accuracy_table(path: Path) -> AccuracyTable:
    """Read a table; FileFormatError names the place of the first fault."""
    record = read_json(path, FORMAT)
    layers = tuple(record.records("layers"))
    known: dict[str, Any] = {
        "space": SpaceKey.from_record(record.record("space")) if "space" in record else None,
        "origin": _read_origin(record.record("origin")) if "origin" in record else None,
        "created": record.text("created"),
        "certificate": _read_certificate(record.record("certificate")) if "certificate" in record else None,
    }
    for layer in layers:
        for cell in layer.records("cells"):
            _refuse_impossible(cell)
    if all("top1_pct" in cell for layer in layers for cell in layer.records("cells")):
        return AccuracyTable.from_top1(Grid.from_records(record, layers, "top1_pct"), **known)
    return AccuracyTable(loss=Grid.from_records(record, layers, "loss_pp"), **known)


def _refuse_impossible(cell: Record) -> None:
    if "top1_pct" in cell and not 0 <= cell.number("top1_pct") <= 100:
        raise cell.error("top1_pct", f"is {cell.number('top1_pct'):g}: percent lie between 0 and 100.")
    if "loss_pp" in cell and cell.number("loss_pp") < 0:
        raise cell.error("loss_pp", f"is {cell.number('loss_pp'):g}: a loss cannot be negative.")


def _document(table: AccuracyTable) -> Iterator[tuple[str, Any]]:
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
        resolution=record.integer("resolution"),
        classes=record.integer("classes"),
        images=record.integer("images"),
        epochs=tuple((stage, epochs.integer(stage)) for stage in epochs.data),
        seed=record.integer("seed"),
        details=record.strings("details"),
    )


_CERTIFIED = ("networks", "kendall_tau", "kendall_tau_low", "kendall_tau_high", "spearman", "noise_pp")


def _read_certificate(record: Record) -> AccuracyCertificate:
    _, *numbers = _CERTIFIED
    return AccuracyCertificate(record.integer("networks"), **{key: record.number(key) for key in numbers})
