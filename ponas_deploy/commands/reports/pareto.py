"""One front, or several side by side: who wins at which budget, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.plot import COLOURS, MARKS, FrontPlot
from ponas_deploy.commands.reports.style import BEST, FAINT, counted, digits, table, titled
from ponas_deploy.search.comparison import (
    BestWithin,
    BudgetRow,
    FrontComparison,
    NamedFront,
    Predict,
    no_top1,
    round_budgets,
)
from ponas_deploy.search.frontier import best_within


def front_report(named: NamedFront, predict: Predict = no_top1, budgets: int = 12) -> RenderableType:
    """One front: what each of about so many `budgets` buys, and a plot.

    `predict` is the top-1 at a loss of it.
    """
    front = named.front
    shown = table("")
    top1 = predict(0.0)
    for name in ("budget ms", "loss pp", *(["top-1 %"] if top1 else []), "predicted ms"):
        shown.add_column(name, justify="right", no_wrap=True)
    for budget in round_budgets([front], budgets):
        point = best_within(front, budget)
        if point is not None:
            loss_pp, cost_ms = float(front.loss[point]), float(front.cost[point])
            percent = _percent(loss_pp, predict)
            shown.add_row(f"{budget:g}", f"{loss_pp:.2f}", *percent, digits(cost_ms))
    title = f"{named.name}: {counted(len(front.cost), 'network')} on the {'exact ' * front.complete}front"
    hint = "The networks themselves: --json, or `ponas specialize --latency TIME`."
    hint = f"Predicted top-1: {top1.of}.\n{hint}" if top1 else hint
    return Group(titled(title, shown, hint), Text(""), FrontPlot((front,)))


def _percent(loss_pp: float, predict: Predict) -> list[str]:
    """The cell of predicted top-1; no cell where the table only ranks."""
    top1 = predict(loss_pp)
    return [f"{top1.pct:.2f}"] if top1 else []


def comparison_report(
    comparison: FrontComparison, fronts: Sequence[NamedFront], predict: Predict = no_top1
) -> RenderableType:
    """A row a budget with the winner in bold, then shares, then a plot and the verdict.

    `predict` is the top-1 at a loss of theirs.
    """
    return Group(
        _by_budget(comparison, predict),
        _shares(comparison),
        FrontPlot(tuple(named.front for named in fronts)),
        Text(""),
        Text(comparison.verdict, style="bold"),
    )


def _by_budget(comparison: FrontComparison, predict: Predict) -> RenderableType:
    rows = table("")
    rows.add_column("budget ms", justify="right")
    for index, name in enumerate(comparison.names):
        rows.add_column(_legend(index, name), justify="right", overflow="fold")
    rows.add_column("wins by", justify="right")
    top1 = predict(0.0)
    if top1:
        rows.add_column("best top-1 %", justify="right")
    for row in comparison.by_budget:
        cells = [_best_within(s, index in row.winners) for index, s in enumerate(row.best_within)]
        least = min((best.loss_pp for best in row.best_within if best), default=None)
        percent = _percent(least, predict) if least is not None else []
        rows.add_row(f"{row.budget_ms:g}", *cells, _margin(row), *percent)
    title = "Least loss within a budget, in percentage points (predicted ms)"
    return titled(title, rows, f"Predicted top-1: {top1.of}." if top1 else "")


def _best_within(best: BestWithin | None, wins: bool) -> Text:
    if best is None:
        return Text("-", style=FAINT)
    return Text(f"{best.loss_pp:.2f} ({digits(best.latency_ms, 3)})", style=BEST if wins else "")


def _margin(row: BudgetRow) -> str:
    """What the winner is ahead of the next: loss, or latency where the losses are equal."""
    able = sorted((s.loss_pp, s.latency_ms) for s in row.best_within if s is not None)
    if len(row.winners) != 1:
        return "tie" if row.winners else ""
    if len(able) == 1:
        return "alone"
    (loss, latency), (next_loss, next_latency) = able[:2]
    if next_loss - loss > 1e-9:
        return f"{next_loss - loss:.2f} pp"
    return f"{100 * (1 - latency / next_latency):.0f} % time"


def _shares(comparison: FrontComparison) -> RenderableType:
    rows = table("")
    rows.add_column("the whole fronts")
    for index, name in enumerate(comparison.names):
        rows.add_column(_legend(index, name), justify="right", overflow="fold")
    best = max(comparison.hypervolume_pct)
    shares = [
        Text(f"{share:.1f} %", style=BEST if share == best else "") for share in comparison.hypervolume_pct
    ]
    rows.add_row("hypervolume, share of the box", *shares)
    rows.add_row("time at equal loss, to the fastest", *[f"{value:.2f}x" for value in comparison.slowdown])
    for index, other in enumerate(comparison.names):
        shares = [
            Text(_share(row[index], row is comparison.dominated_pct[index]))
            for row in comparison.dominated_pct
        ]
        rows.add_row(f"beaten by {other}", *shares)
    return rows


def _share(percent: float, own: bool) -> str:
    return "" if own else f"{percent:.0f} %"


def _legend(index: int, name: str) -> Text:
    mark = MARKS[index % len(MARKS)]
    return Text.assemble((mark, f"bold {COLOURS[index % len(COLOURS)]}"), f" {name}")
