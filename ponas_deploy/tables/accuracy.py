"""The accuracy table: what each candidate is worth, as the paper's table T (section 3.1, eq. 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

from ponas_deploy.files.records import Faults, Record, write_json
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
    """How well summed losses rank networks that were really evaluated: rank correlations, 95 % intervals.

    `noise_pp` is the standard deviation of a network's top-1 from one set of images to another, 0 where
    nothing says it, at the networks' mean top-1, `top1_pct`; `noise_tau` is the Kendall tau of two such
    evaluations, `macs_tau` that of MACs alone.
    `method` says how the networks came by their weights: "inherited" from a supernet, "trained" on
    their own, or "held out" of a fit, whatever they were. What a file does not say is None or empty.
    """

    networks: int
    kendall_tau: float
    kendall_tau_low: float
    kendall_tau_high: float
    spearman: float
    noise_pp: float
    spearman_low: float | None = None
    spearman_high: float | None = None
    noise_tau: float | None = None
    macs_tau: float | None = None
    top1_pct: float | None = None
    method: str = ""
    made_on: str = ""

    @property
    def text(self) -> str:
        """The rank correlation for people."""
        low, high = self.kendall_tau_low, self.kendall_tau_high
        return f"tau {self.kendall_tau:.2f} ({low:.2f} to {high:.2f}, {self.networks} networks)"

    def noise_at(self, top1_pct: float) -> float:
        """The noise in percentage points at another top-1: images are hit or missed, a binomial draw."""
        if self.top1_pct is None or not 0 < self.top1_pct < 100:
            return self.noise_pp
        return self.noise_pp * sqrt(_binomial(top1_pct) / _binomial(self.top1_pct))


def _binomial(pct: float) -> float:
    return pct * (100 - pct)


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

    @property
    def ties(self) -> tuple[tuple[bool, ...], ...]:
        """Which candidates lose less than the evaluation noise to the best, and may be as good as it.

        (layers, candidates); none where no certificate says what the noise is. A table of top-1 has the
        noise of its own level, a table of losses that of the certificate's networks.
        """
        proof = self.certificate
        if proof is None:
            return tuple((False,) * len(row) for row in self.loss.values)
        if self.top1 is None:
            return tuple(tuple(0 < loss < proof.noise_pp for loss in row) for row in self.loss.values)
        return tuple(
            tuple(0 < loss < proof.noise_at(top1) for loss, top1 in zip(*row, strict=True))
            for row in zip(self.loss.values, self.top1.values, strict=True)
        )


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
    yield "certificate", table.certificate and _certificate(table.certificate)
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


_NUMBERS = ("kendall_tau", "kendall_tau_low", "kendall_tau_high", "spearman", "noise_pp")
_LATER_NUMBERS = ("spearman_low", "spearman_high", "noise_tau", "macs_tau", "top1_pct")
_LATER_TEXTS = ("method", "made_on")
"""What certificates of the first days do not have."""


def _certificate(proof: AccuracyCertificate) -> dict[str, Any]:
    known: dict[str, Any] = {key: getattr(proof, key) for key in ("networks", *_NUMBERS)}
    later = {key: getattr(proof, key) for key in (*_LATER_NUMBERS, *_LATER_TEXTS)}
    return known | {key: value for key, value in later.items() if value not in (None, "")}


def _read_certificate(record: Record) -> AccuracyCertificate:
    known: dict[str, Any] = {key: record.number(key) for key in _NUMBERS}
    known |= {key: record.number(key) for key in _LATER_NUMBERS if key in record}
    known |= {key: record.text(key) for key in _LATER_TEXTS if key in record}
    return AccuracyCertificate(record.integer("networks", least=1), **known)
