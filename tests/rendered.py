"""A report as text, for tests that read it."""

from __future__ import annotations

from io import StringIO

from rich.console import Console, RenderableType


def shown(report: RenderableType) -> str:
    console = Console(width=100, file=StringIO())
    with console.capture() as captured:
        console.print(report)
    return captured.get()
