"""Given networks on several latency tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import BEST, digits, table, titled
from ponas_deploy.search.costs import report_rows
from ponas_deploy.search.predictions import NetworkPrediction


def compare_report(networks: Sequence[NetworkPrediction], tables: Sequence[str]) -> RenderableType:
    """A row a network; the fastest on each table and the least loss in bold."""
    rows = table("")
    rows.add_column("network", overflow="fold")
    costs = [report_rows(dict(network.costs)) for network in networks]
    titles = [title for title, _ in costs[0]] if all(costs) else []
    for name in (*titles, *(f"{name} ms" for name in tables)):
        rows.add_column(name, justify="right", overflow="fold")
    losses = [network.predicted_loss_pp for network in networks]
    if None not in losses:
        rows.add_column("loss pp", justify="right")
    top1 = [network.predicted_top1 for network in networks if network.predicted_top1]
    if top1:
        rows.add_column("top-1 %", justify="right")
    fastest = [min(column) for column in zip(*(network.predicted_ms for network in networks), strict=True)]
    for network, counted in zip(networks, costs, strict=True):
        cells = [
            Text(digits(value), style=BEST if value == best else "")
            for value, best in zip(network.predicted_ms, fastest, strict=True)
        ]
        loss = network.predicted_loss_pp
        best_loss = min(value for value in losses if value is not None) if loss is not None else None
        ending = [Text(f"{loss:.2f}", style=BEST if loss == best_loss else "")] if loss is not None else []
        percent = [f"{network.predicted_top1.pct:.2f}"] if network.predicted_top1 else []
        rows.add_row(network.name, *(value for _, value in counted if titles), *cells, *ending, *percent)
    return titled("Predicted, not measured", rows, f"top-1: {top1[0].of}" if top1 else "")
