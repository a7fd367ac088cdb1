"""Networks that were measured side by side: a table, a chart, and what specialising gains at each budget."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.findings import warning_lines
from ponas_deploy.commands.reports.plot import PointPlot
from ponas_deploy.commands.reports.style import BEST, FAINT, WARN, digits, table, titled
from ponas_deploy.engines.compared import Comparison, Measured, Top1

_MARKS = {"on": "*", "not resolved": "~", "off": "", "unknown": "?"}
_LEGEND = (
    "* on the front of all; ~ the noise or the error of a predicted top-1 does not tell whether another one"
    " beats it; ? without a top-1."
)
_COMPARABLE = (
    "Published top-1 are of networks that were trained to the end, some of them distilled from a larger one;"
    " predicted top-1 are of weights inherited from a supernet, not fine-tuned. All are of ImageNet, with"
    " weights and arithmetic in full precision, whatever precision the latencies are of. Parameters are those"
    " deployed, with batch norm folded: `ponas describe` tells both these and those that are trained."
)


def measured_comparison_report(found: Comparison) -> RenderableType:
    """The fastest first; then the chart, the budgets, and what makes the numbers comparable or not."""
    return Group(*_parts(found))


def _parts(found: Comparison) -> Iterator[RenderableType]:
    if found.warnings:
        yield warning_lines(found.warnings)
    yield titled(f"Measured side by side: {found.conditions.text}", _table(found), _LEGEND)
    points = [
        (one.measured_ms, one.entry.top1.pct, 1 if one.entry.kind == "space" else 0)
        for one in found.networks
        if one.entry.top1
    ]
    if len(points) > 1:
        yield PointPlot(tuple(points), "top-1 %", ("stock and your own", "of the space"))
        yield Text("")
    for one in found.verdicts:
        yield Text(one.text, style={True: BEST, False: WARN, None: ""}[one.pays])
    if found.summary:
        yield Text(found.summary, style="bold")
    yield Text(
        f"Noise floor {found.floor_pct:.1f} % over {found.rounds} rounds in fresh processes: smaller"
        f" differences are not resolved. {found.shared_pct:.0f} % of the samples met a core that something"
        " else shared.",
        style=FAINT,
    )
    yield Text(_COMPARABLE, style=FAINT)
    for text in filter(None, (found.disturbed, *found.left_out)):
        yield Text(text, style=WARN)


def _table(found: Comparison) -> RenderableType:
    rows = table("")
    rows.add_column("", no_wrap=True)
    rows.add_column("network", overflow="fold")
    for name in ("px", "ms", "noise", "top-1 %"):
        rows.add_column(name, justify="right", no_wrap=True)
    rows.add_column("top-1 is", overflow="fold")
    for name in ("params M", "MACs M"):
        rows.add_column(name, justify="right", no_wrap=True)
    for one in found.networks:
        rows.add_row(*_cells(one), style=BEST if one.front == "on" else "")
    return rows


def _cells(one: Measured) -> Iterator[str]:
    entry = one.entry
    yield _MARKS[one.front]
    yield entry.name
    yield str(entry.resolution_px or "-")
    yield digits(one.measured_ms)
    yield f"{one.noise_pct:.1f} %"
    yield f"{entry.top1.pct:.2f}" if entry.top1 else "-"
    yield _known(entry.top1)
    yield "-" if entry.params is None else f"{entry.params / 1e6:.2f}"
    yield "-" if entry.macs is None else f"{entry.macs / 1e6:.0f}"


def _known(top1: Top1 | None) -> str:
    """`published (timm fb_dist), distilled`."""
    if top1 is None:
        return "not known"
    of = f" ({top1.of.partition(',')[0]})" if top1.known == "published" else ""
    said = (f"{top1.known}{of}", "distilled" * top1.distilled, "beyond what was measured" * bool(top1.beyond))
    return ", ".join(filter(None, said))
