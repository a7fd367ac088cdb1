"""The report of `ponas train specialized`: what a network is worth on images that it was not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import BEST, FAINT, table, titled

if TYPE_CHECKING:
    from train.files import SpecializedDocument


def trained_report(document: SpecializedDocument, weights: str) -> RenderableType:
    """The result of a run as a table; `weights` is where the weights lie."""
    rows = table("")
    for name in ("images", "number", "top-1", "top-5"):
        rows.add_column(name, justify="left" if name == "images" else "right")
    for name, found in (("validation", document.validation), ("test", document.test)):
        accuracy = (f"{value:.2f} %" for value in (found.top1_pct, found.top5_pct))
        rows.add_row(name, f"{found.images:,}", *accuracy, style=BEST if name == "test" else "")
    space, inherited, teacher = document.space, document.inherited, document.teacher
    taught = f", taught by {teacher.file}" if teacher else ""
    below = [
        f"from {inherited.file if inherited else 'scratch'}{taught},"
        f" {document.training.epochs} epochs of {document.images['train']:,} images",
        f"architecture: {','.join(document.choices)}",
        f"weights: {weights}",
    ]
    title = f"A network of space {space.name} for {document.data} at {space.resolution} px"
    return Group(titled(title, rows), *(Text(line, style=FAINT) for line in below))
