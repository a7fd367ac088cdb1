"""What `ponas table import` made of another project's table, and what that lacked."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import FAINT, WARN, counted, digits
from ponas_deploy.tables.importing import ImportedTable

_NAMES = {"once-for-all": "once-for-all", "fbnet": "FBNet"}


def imported_report(made: ImportedTable, file: str, out: str) -> RenderableType:
    """What was read and written, what is lacking, layer by layer, and what to do next."""
    return Group(*_lines(made, file, out))


def _lines(made: ImportedTable, file: str, out: str) -> Iterator[RenderableType]:
    grid, key = made.table.grid, made.table.space
    cells = counted(sum(map(len, grid.candidates)), "cell")
    low, high = grid.fixed + sum(map(min, grid.values)), grid.fixed + sum(map(max, grid.values))
    yield Text(f"{out}: {counted(len(grid.layers), 'layer')}, {cells} of {_NAMES[made.source]}'s {file}")
    if key:
        yield Text(f"space {key.name}, {key.resolution} px, {key.classes} classes: complete", style=FAINT)
    yield Text(f"networks take {digits(low)} to {digits(high)} ms by this table")
    for note in made.notes:
        yield Text(note, style=WARN)
    for labels, layers in _lacking(made).items():
        yield Text(f"  lacking in {layers}: {labels}", style=WARN)
    yield Text(f"next: ponas table check {out}", style=FAINT)


def _lacking(made: ImportedTable) -> dict[str, str]:
    """The layers that lack the same candidates, by these candidates."""
    by_layer: dict[str, list[str]] = {}
    for cell in made.lacking:
        if cell.candidate:
            by_layer.setdefault(cell.layer, []).append(cell.candidate)
    by_labels: dict[str, list[str]] = {}
    for layer, labels in by_layer.items():
        by_labels.setdefault(", ".join(labels), []).append(layer)
    return {
        labels: f"layer{'s' * (len(layers) > 1)} {', '.join(layers)}" for labels, layers in by_labels.items()
    }
