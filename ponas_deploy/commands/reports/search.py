"""The networks that a search has found."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import counted, table, titled
from ponas_deploy.engines.evolution_search import Searched
from ponas_deploy.search.costs import LATENCY, reported


def search_report(found: Searched) -> RenderableType:
    """The front from the cheapest on, and the text form of the best."""
    best, rows = found.best, table("")
    columns = [column for column in (LATENCY, *reported()) if column.name in best.costs]
    titles = [column.row.title if column.row else "predicted latency" for column in columns]
    for title in ("validation top-1", *titles, "generation"):
        rows.add_column(title, justify="right")
    for one in found.front:
        costs = (column.shown(one.costs[column.name]) for column in columns)
        rows.add_row(f"{one.top1_pct:.2f} %", *costs, str(one.generation + 1))
    evaluated = counted(len(found.evaluated), "network")
    title = f"{best.architecture.space.name}: {evaluated} evaluated; no other one beats these"
    return Group(titled(title, rows), Text(f"best: {best.architecture.name}", overflow="fold"))
