"""Tables as pandas data frames, for people: one row a layer and candidate, and one of the constant."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Any

from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable

if TYPE_CHECKING:
    from pandas import DataFrame


def to_frame(table: LatencyTable | AccuracyTable) -> DataFrame:
    """`layer`, `candidate`, then `latency_ms`, `isolated_ms`, `low_ms`, `high_ms` or `loss_pp`, `top1_pct`.

    Columns the table has nothing for are left out. The constant of stem and head is the last row, without a
    layer and with the candidate `fixed`, as the CSV that is read back has it.
    """
    from pandas import DataFrame

    grid = table.grid if isinstance(table, LatencyTable) else table.loss
    has_constant = isinstance(table, LatencyTable) or grid.fixed != 0
    columns: dict[str, list[Any]] = {
        "layer": [*(layer for layer, row in zip(grid.layers, grid.candidates, strict=True) for _ in row), ""],
        "candidate": [*(label for row in grid.candidates for label in row), "fixed"],
    }
    if isinstance(table, LatencyTable):
        columns["latency_ms"] = _flat(grid)
        if table.isolated:
            columns["isolated_ms"] = _flat(table.isolated)
        if table.intervals_ms:
            columns["low_ms"] = [*(low for row in table.intervals_ms for low, _ in row), nan]
            columns["high_ms"] = [*(high for row in table.intervals_ms for _, high in row), nan]
    else:
        columns["loss_pp"] = _flat(grid)
        if table.top1:
            columns["top1_pct"] = _flat(table.top1)
    frame = DataFrame(columns)
    return frame if has_constant else frame[:-1]


def _flat(grid: Grid) -> list[float]:
    return [*(value for row in grid.values for value in row), grid.fixed]
