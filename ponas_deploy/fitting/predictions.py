"""Predictions of networks from a file, and how far they are from values that stand beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ponas_deploy.fitting.ranks import RankCorrelation, rank_correlation
from ponas_deploy.fitting.tables import predict
from ponas_deploy.tables.files import AnyTable
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.networks_csv import Kind, Networks, in_order_of


@dataclass(frozen=True, slots=True)
class Predictions:
    """`values`, one a row, in ms (`latency`) or percent of top-1 (`accuracy`).

    `tau` and `mean_error` (percent of a latency, percentage points of top-1) are there where the file
    holds measured values of the same kind.
    """

    networks: Networks
    kind: Kind
    values: tuple[float, ...]
    tau: RankCorrelation | None
    mean_error: float | None


def predict_rows(table: AnyTable, networks: Networks) -> Predictions:
    """The predictions of a table; FileFormatError names line and column of what the table does not know."""
    latency = isinstance(table, LatencyTable)
    ordered = in_order_of(networks, table.grid if isinstance(table, LatencyTable) else table.loss)
    values = predict(table, ordered.choices)
    kind: Kind = "latency" if latency else "accuracy"
    if networks.kind != kind:
        return Predictions(networks, kind, values, None, None)
    predicted, measured = np.array(values), np.array(networks.values)
    away = np.abs(predicted - measured)
    error = float((100 * away / measured if latency else away).mean())
    return Predictions(networks, kind, values, rank_correlation(predicted, measured), error)


@dataclass(frozen=True, slots=True)
class PredictionsDocument:
    """What `ponas table predict --json` prints; see `Predictions`. `unit` is that of `predictions`."""

    kind: Kind
    unit: Literal["ms", "%"]
    networks: int
    predictions: tuple[float, ...]
    tau: float | None
    mean_error: float | None


def predictions_document(found: Predictions) -> PredictionsDocument:
    """The predictions as `ponas table predict --json` prints them."""
    return PredictionsDocument(
        found.kind,
        "ms" if found.kind == "latency" else "%",
        len(found.values),
        found.values,
        found.tau.tau if found.tau else None,
        found.mean_error,
    )
