"""What `ponas train` and its commands print with `--json`: typed, loaded when a command prints it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ponas_deploy.commands.documents.values import values_of
from ponas_deploy.fitting import Fit, fit_document
from ponas_deploy.fitting.result import FitDocument
from ponas_deploy.tables.accuracy import AccuracyCertificate, AccuracyTable

if TYPE_CHECKING:
    from train.files import Status
    from train.runs import TrainResult, TransferResult


@dataclass(frozen=True, slots=True)
class TrainedDocument:
    """What `ponas train --json` prints: where the table and the weights are, and the best network.

    `meta` are the weights of the largest network, None where none was trained alone. `best` is the best of
    the networks that the table was fitted to, where it was.
    """

    accuracy_table: str
    weights: str
    meta: str | None
    best: tuple[str, ...]
    details: Mapping[str, str]


def trained_document(result: TrainResult) -> TrainedDocument:
    """What a run left behind; `details` are those of its table's origin."""
    origin = result.table.origin
    details = dict(origin.details) if origin else {}
    return TrainedDocument(
        str(result.table_path),
        str(result.weights),
        str(result.meta) if result.meta else None,
        result.best.choices,
        details,
    )


@dataclass(frozen=True, slots=True)
class ProgressiveTable:
    """What `ponas train table --method progressive --json` prints."""

    method: str
    table: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedRunTable(FitDocument):
    """What `ponas train table --json` prints of a fit; `evaluated` is the file of its networks."""

    method: str
    evaluated: str
    table: str


def training_table(
    method: str, table: Path, fit: Fit | None, evaluated: Path | None
) -> ProgressiveTable | FittedRunTable:
    """The table of a run that was written; `fit` and the file of its networks where it is a fitted one."""
    if fit is None:
        return ProgressiveTable(method, str(table))
    return FittedRunTable(
        **values_of(fit_document(fit)), method=method, evaluated=str(evaluated), table=str(table)
    )


@dataclass(frozen=True, slots=True)
class TransferredDocument:
    """What `ponas train transfer --json` prints: where table, weights and evaluated networks are.

    `class_names` are in the order of the outputs, `details` those of the table's origin.
    """

    accuracy_table: str
    weights: str
    evaluated: str
    class_names: tuple[str, ...]
    certificate: AccuracyCertificate | None
    details: Mapping[str, str]


def transferred_document(result: TransferResult) -> TransferredDocument:
    """What a transfer left behind."""
    table = result.table
    return TransferredDocument(
        str(result.table_path),
        str(result.weights),
        str(result.evaluated),
        result.class_names,
        table.certificate,
        dict(table.origin.details) if table.origin else {},
    )


@dataclass(frozen=True, slots=True)
class TrainedRow:
    """A finished row of an accuracy table: top-1 in percent by candidate."""

    layer: str
    top1_pct: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TrainingProcess:
    """The process that trains in a folder."""

    pid: int
    host: str
    since: str


@dataclass(frozen=True, slots=True)
class StatusDocument:
    """What `ponas train status --json` prints; what is not known yet is None.

    `asked` are the settings by dotted name, `command` makes the run again, `running` is the process that
    trains now.
    """

    run: str
    asked: Mapping[str, Any]
    command: str
    stage: str
    at: str | None
    step: int | None
    steps: int | None
    seconds_spent: float | None
    seconds_left: float | None
    images_per_s: float | None
    updated: str | None
    best_top1_pct: float | None
    rows: tuple[TrainedRow, ...]
    running: TrainingProcess | None


def status_document(found: Status, command: str) -> StatusDocument:
    """How far a training run is."""
    last, table, holder = found.last, found.table, found.holder
    return StatusDocument(
        run=str(found.folder),
        asked=found.asked,
        command=command,
        stage=found.stage,
        at=last.at if last else None,
        step=last.step if last else None,
        steps=last.steps if last else None,
        seconds_spent=last.seconds if last else None,
        seconds_left=found.left_s,
        images_per_s=last.images_per_s if last else None,
        updated=last.time if last else None,
        best_top1_pct=found.best_top1_pct,
        rows=_rows(table) if table else (),
        running=TrainingProcess(holder.pid, holder.host, holder.since) if holder else None,
    )


def _rows(table: AccuracyTable) -> tuple[TrainedRow, ...]:
    grid = table.top1 or table.loss
    rows = zip(grid.layers, grid.candidates, grid.values, strict=True)
    return tuple(TrainedRow(layer, dict(zip(labels, values, strict=True))) for layer, labels, values in rows)
