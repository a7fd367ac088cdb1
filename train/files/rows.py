"""Finished rows of the accuracy table: as text, for the header of a weights file, and as a grid. No torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ponas_deploy.tables import Grid
from train.progress import LayerRow


def grid_of(rows: Sequence[LayerRow]) -> Grid:
    """The top-1 of all rows, in percent."""
    return Grid(
        tuple(row.layer for row in rows),
        tuple(row.labels for row in rows),
        tuple(row.top1_pct for row in rows),
    )


def rows_text(rows: Sequence[LayerRow]) -> str:
    """Rows as JSON on one line."""
    return json.dumps([asdict(row) for row in rows])


def rows_of(text: str) -> tuple[LayerRow, ...]:
    """The rows of such a text; ValueError or TypeError when it is none."""
    return tuple(_row(row) for row in json.loads(text))


def _row(values: dict[str, Any]) -> LayerRow:
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    return LayerRow(**fields)
