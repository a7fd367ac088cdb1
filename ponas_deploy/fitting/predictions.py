"""Predictions of networks from a file, and how far they are from values that stand beside them.

A row with a candidate that the table has never seen has no prediction and is named; the others have theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Literal

import numpy as np
from msgspec import UNSET, UnsetType

from ponas_deploy.errors import FileFormatError
from ponas_deploy.fitting.ranks import RankCorrelation, rank_correlation
from ponas_deploy.fitting.tables import predict
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_quality import top1_warnings
from ponas_deploy.tables.files import AnyTable
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.networks_csv import Kind, Networks, UnknownRow, known_and_unknown
from ponas_deploy.tables.spaces import ruling_space


@dataclass(frozen=True, slots=True)
class Predictions:
    """`values`, one a row, in ms (`latency`) or percent of top-1 (`accuracy`); NaN where `unknown`.

    `tau` and `mean_error` (percent of a latency, percentage points of top-1) are there where the file
    holds measured values of the same kind, of the rows that have a prediction. `top1_of` says what predicted
    top-1 is of, `beyond` where it leaves the range of the networks that the table was fitted to, and
    `estimated` that nobody measured the table.
    """

    networks: Networks
    kind: Kind
    values: tuple[float, ...]
    tau: RankCorrelation | None
    mean_error: float | None
    unknown: tuple[UnknownRow, ...] = ()
    top1_of: str = ""
    beyond: tuple[str, ...] = ()
    estimated: str = ""

    @property
    def warning(self) -> str:
        """One line for people where rows have no prediction; empty where all have."""
        if not self.unknown:
            return ""
        rows, first = len(self.values), self.unknown[0]
        have = "1 of them has" if len(self.unknown) == 1 else f"{len(self.unknown)} of them have"
        return (
            f"{rows} rows: {have} a candidate that the table does not know, and no prediction. {first.text}"
        )


def predict_rows(table: AnyTable, networks: Networks) -> Predictions:
    """The predictions of a table; FileFormatError names what it does not know where that is in every row."""
    grid = table.grid if isinstance(table, LatencyTable) else table.loss
    ordered, unknown = known_and_unknown(networks, grid, ruling_space(table))
    if len(unknown) == len(networks):
        raise FileFormatError(networks.path, unknown[0].where, unknown[0].reason)
    values = np.full(len(networks), nan)
    known = np.delete(np.arange(len(networks)), [one.row for one in unknown])
    values[known] = predict(table, [ordered.choices[row] for row in known])
    kind: Kind = "latency" if isinstance(table, LatencyTable) else "accuracy"
    top1_of, beyond = "", tuple[str, ...]()
    if isinstance(table, AccuracyTable) and (best := table.predicted_top1(0.0)):
        ends = int(np.nanargmin(values)), int(np.nanargmax(values))
        losses_pp = [table.loss_pp(ordered.choices[row]) for row in ends]
        top1_of, beyond = best.of, top1_warnings(table, losses_pp, ())
    estimated = table.estimated if isinstance(table, LatencyTable) else ""
    found = Predictions(
        networks, kind, tuple(values.tolist()), None, None, unknown, top1_of, beyond, estimated
    )
    if networks.kind != kind:
        return found
    predicted, measured = values[known], np.array(networks.values)[known]
    away = np.abs(predicted - measured)
    error = float((100 * away / measured if kind == "latency" else away).mean())
    return replace(found, tau=rank_correlation(predicted, measured), mean_error=error)


@dataclass(frozen=True, slots=True)
class UnknownCandidate:
    """A row without a prediction: its number from 0, its place in the file, and why."""

    row: int
    where: str
    layer: str
    candidate: str
    message: str


@dataclass(frozen=True, slots=True)
class PredictionsDocument:
    """What `ponas table predict --json` prints; see `Predictions`. `unit` is that of `predictions`.

    A prediction is None for each row that is `unknown`. `predicted_top1_of` is absent for latencies, and
    where the table does not say it; `warnings` say where top-1 is predicted beyond what was measured, or
    that the table is estimated.
    """

    kind: Kind
    unit: Literal["ms", "%"]
    networks: int
    predictions: tuple[float | None, ...]
    tau: float | None
    mean_error: float | None
    unknown: tuple[UnknownCandidate, ...] = ()
    predicted_top1_of: str | UnsetType = UNSET
    warnings: tuple[str, ...] = ()


def predictions_document(found: Predictions) -> PredictionsDocument:
    """The predictions as `ponas table predict --json` prints them."""
    return PredictionsDocument(
        found.kind,
        "ms" if found.kind == "latency" else "%",
        len(found.values),
        tuple(None if isnan(value) else value for value in found.values),
        found.tau.tau if found.tau else None,
        found.mean_error,
        tuple(
            UnknownCandidate(one.row, one.where, one.layer, one.candidate, one.reason)
            for one in found.unknown
        ),
        found.top1_of or UNSET,
        (*found.beyond, *filter(None, (found.estimated,))),
    )
