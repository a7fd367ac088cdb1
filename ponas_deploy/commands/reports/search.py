"""The networks that a search has found."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import table
from ponas_deploy.engines.evolution_search import Searched
from ponas_deploy.search.costs import cost_column


def search_report(found: Searched) -> RenderableType:
    """The front from the cheapest on, and the text form of the best."""
    report = table(f"{found.best.architecture.space.name}: {len(found.evaluated)} networks evaluated")
    report.add_column("top-1 (validation)", justify="right")
    names = tuple(found.best.costs)
    for name in names:
        report.add_column(name, justify="right")
    report.add_column("generation", justify="right")
    for one in found.front:
        costs = (cost_column(name).shown(one.costs[name]) for name in names)
        report.add_row(f"{one.top1_pct:.2f} %", *costs, str(one.generation + 1))
    return Group(report, Text(f"best: {found.best.architecture.name}", overflow="fold"))
