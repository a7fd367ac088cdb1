"""The report of `ponas evaluate`: accuracy through torch, and beside it that of the deployed engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import BAD, FAINT, GOOD, table, titled

if TYPE_CHECKING:
    from ponas_deploy.commands.documents.evaluation import EvaluatedEngine, EvaluationDocument


def evaluation_report(document: EvaluationDocument) -> RenderableType:
    """The document of `ponas evaluate --json` as a table."""
    images = f"{document.images:,} {document.split} images of {document.data}"
    rows = table("")
    for name in ("through", "top-1", "top-5"):
        rows.add_column(name, justify="left" if name == "through" else "right")
    rows.add_row("torch fp32", *_accuracy(document))
    below = [Text(f"weights: {document.weights}", style=FAINT)]
    engine = document.engine
    if engine is not None:
        rows.add_row(engine.made_for, *_accuracy(engine))
        verdict = Text("they agree", style=GOOD) if document.agree else Text("they differ", style=BAD)
        below += [Text(f"engine: {engine.folder}, {engine.weights}", style=FAINT), verdict]
    title = f"Accuracy on {images} at {document.resolution} px"
    return Group(titled(title, rows), *below)


def _accuracy(found: EvaluationDocument | EvaluatedEngine) -> tuple[str, str]:
    return f"{found.top1_pct:.2f} %", f"{found.top5_pct:.2f} %"
