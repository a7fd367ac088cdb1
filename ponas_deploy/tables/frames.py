"""Tables as pandas data frames, for people: one row a layer and candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable

if TYPE_CHECKING:
    from pandas import DataFrame


def to_frame(table: LatencyTable | AccuracyTable) -> DataFrame:
    """`layer`, `candidate`, then `latency_ms`, `isolated_ms`, `low_ms`, `high_ms` or `loss_pp`, `top1_pct`.

    Columns the table has nothing for are left out; the constant of stem and head is not a row.
    """
    from pandas import DataFrame

    grid = table.grid if isinstance(table, LatencyTable) else table.loss
    columns: dict[str, list[Any]] = {
        "layer": [layer for layer, row in zip(grid.layers, grid.candidates, strict=True) for _ in row],
        "candidate": [label for row in grid.candidates for label in row],
    }
    if isinstance(table, LatencyTable):
        columns["latency_ms"] = _flat(grid)
        if table.isolated:
            columns["isolated_ms"] = _flat(table.isolated)
        if table.intervals_ms:
            columns["low_ms"] = [low for row in table.intervals_ms for low, _ in row]
            columns["high_ms"] = [high for row in table.intervals_ms for _, high in row]
    else:
        columns["loss_pp"] = _flat(grid)
        if table.top1:
            columns["top1_pct"] = _flat(table.top1)
    return DataFrame(columns)


def _flat(grid: Grid) -> list[float]:
    return [value for row in grid.values for value in row]
