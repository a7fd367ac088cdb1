"""One network for several devices: what it takes and loses on each, and what sharing costs."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import FAINT, digits, table, titled
from ponas_deploy.search.costs import LATENCY
from ponas_deploy.search.fleet import OnDevice, Shared
from ponas_deploy.search.specialize import Specialization
from searchspace.architecture import text_form


def sharing_report(shared: Shared) -> RenderableType:
    """A row a device: its budget, the shared network there, the best network of its own, the difference."""
    choice = shared.choice
    top1 = choice.predicted_top1
    unit = "top-1 %" if top1 else "loss pp"
    rows = table("")
    rows.add_column("device", overflow="fold")
    rows.add_column("runtime", overflow="fold")
    # Numbers are never folded, and the words above them stand in two lines: 80 columns are enough.
    for name in ("budget\nms", "predicted\nms", f"own best,\n{unit}", f"shared,\n{unit}", "sharing\ncosts"):
        rows.add_column(name, justify="right", no_wrap=True)
    for one in shared.devices:
        rows.add_row(*_cells(one))
    hint = f"architecture {text_form(choice.choices)}"
    if choice.resolution:
        hint += f", {choice.resolution} px"
    lines = [Text(hint, style=FAINT)]
    if top1:
        lines.append(Text(f"Predicted top-1: {top1.of}.", style=FAINT))
    if choice.gap_pp:
        lines.append(Text(f"Another network may lose up to {choice.gap_pp:.2g} pp less.", style=FAINT))
    title = "One network for all: what sharing costs against one network a device, by the tables"
    return Group(titled(title, rows), *lines)


def _cells(one: OnDevice) -> tuple[str, ...]:
    limit = one.choice.budget.latency_ms
    return (
        one.name,
        one.table,
        "none" if limit is None else digits(limit / LATENCY.scale),
        digits(one.choice.predicted_ms),
        _lost(one.own),
        _lost(one.choice),
        f"{one.cost_points:.2f} points" if one.choice.predicted_top1 else f"{one.cost_points:.2f} pp",
    )


def _lost(choice: Specialization) -> str:
    """Predicted top-1 where there is one, else the loss."""
    return f"{choice.predicted_top1.pct if choice.predicted_top1 else choice.predicted_loss_pp:.2f}"
