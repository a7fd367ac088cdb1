"""Finished rows of the accuracy table: as text, for the header of a weights file, and as a grid. No torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ponas_deploy.files.documents import converted, encoded, parse
from ponas_deploy.tables.grid import Grid
from train.progress import LayerRow

KEY = "rows"
"""Where a weights file's header has them."""


def grid_of(rows: Sequence[LayerRow]) -> Grid:
    """The top-1 of all rows, in percent."""
    return Grid(
        tuple(row.layer for row in rows),
        tuple(row.labels for row in rows),
        tuple(row.top1_pct for row in rows),
    )


def rows_text(rows: Sequence[LayerRow]) -> str:
    """Rows as JSON on one line."""
    return json.dumps(encoded(rows))


def rows_of(text: str, path: Path) -> tuple[LayerRow, ...]:
    """The rows of such a text in the header of `path`; FileFormatError when it is none."""
    return converted(parse(text, path, KEY), tuple[LayerRow, ...], path, KEY)
