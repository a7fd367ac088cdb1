"""What each layer of an engine takes, as its runtime timed it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import table


def layers_report(timed: Sequence[tuple[str, float]]) -> RenderableType:
    """One row a layer, in the engine's order; shares are of their sum, which is more than a run takes."""
    whole_ms = sum(ms for _, ms in timed) or 1.0
    rows = table("Layers", "Timed one by one, each waiting for the one before: more together than a run.")
    for column in ("layer", "median", "share"):
        rows.add_column(column, justify="left" if column == "layer" else "right")
    for name, ms in timed:
        rows.add_row(Text(name), f"{ms:.4f} ms", f"{100 * ms / whole_ms:.1f} %")
    return rows
