"""An architecture, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ponas_deploy.commands.reports.style import millions, table
from searchspace.description import Description


def describe_report(description: Description) -> RenderableType:
    """The layers with their inputs and costs, the totals, the text form in one line, to be copied."""
    architecture = description.architecture
    space = architecture.space
    report = table(f"{space.name}, {space.resolution} px, {space.classes} classes")
    report.add_column("layer")
    report.add_column("input", justify="right")
    report.add_column("candidate")
    for name in ("stride", "parameters", "MACs", "of all MACs"):
        report.add_column(name, justify="right")
    _add_parts(report, description)
    total = (
        f"deployed {description.deployed_params:,} parameters, {description.bytes / 1e6:.1f} MB in float32:"
        " batch norm folded"
    )
    if description.flops:
        total += f", {description.flops:,} FLOPs as {description.counter} counts them"
    lines = [total, *_published(description)]
    return Group(report, *map(Text, lines), Text(architecture.text, no_wrap=True, overflow="ignore"))


def _published(description: Description) -> Iterator[str]:
    """What the source of a published network states of it."""
    if figures := description.published:
        counted = [f"{figures.params} parameters"] if figures.params else []
        counted += [f"{figures.macs} MACs"] if figures.macs else []
        remark = f" ({figures.remark})" if figures.remark else ""
        top1 = f"{figures.top1_pct} % top-1 at {figures.resolution} px"
        yield f"published: {', '.join((*counted, top1))}, {figures.source}{remark}"


def _add_parts(report: Table, description: Description) -> None:
    for part in description.parts:
        report.add_row(
            part.name,
            "x".join(map(str, part.input_shape)),
            part.candidate,
            str(part.stride) if part.stride > 1 else "",
            f"{part.params:,}",
            f"{part.macs:,}",
            f"{100 * part.macs / description.macs:.1f} %",
        )
    report.add_section()
    totals = (f"{description.params:,}", f"{description.macs:,}", millions(description.macs))
    report.add_row("total", "", "", "", *totals, style="bold")
