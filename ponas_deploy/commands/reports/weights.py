"""Where weights are had, and the copy that is here."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import FAINT, GOOD, WARN, table
from ponas_deploy.engines.published_weights import PublishedWeights


def weights_report(found: PublishedWeights) -> RenderableType:
    """One row a fact, and what to do next."""
    if found.url is None:
        return Text(f"The authors of space '{found.space}' published no weights that are known here.", WARN)
    rows = table(f"Weights of space '{found.space}'", _next(found))
    rows.show_header = False
    rows.add_column(style=FAINT, no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row("address", found.url)
    rows.add_row("size", f"{found.bytes:,} bytes" if found.bytes is not None else "not known here")
    rows.add_row("SHA-256", found.sha256 or "not known here")
    here = Text(found.file, style=GOOD) if found.file else Text("not downloaded", style=WARN)
    rows.add_row("file", here)
    return rows


def _next(found: PublishedWeights) -> str:
    if found.file:
        return f"`ponas export ARCH --space {found.space} --weights FILE` builds a network with them."
    return (
        f"`ponas weights --space {found.space} --download` gets them, or name your own copy with --weights."
    )
