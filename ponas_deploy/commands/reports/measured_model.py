"""The latency of a model that one already has, and the networks of a space that take as long."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET
from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.costs import measured_rows
from ponas_deploy.commands.reports.style import FAINT, WARN, counted, digits, table, titled
from ponas_deploy.engines.measured_model import MeasuredModel, NetworkBeside
from ponas_deploy.machines.advice import is_this_processor
from ponas_deploy.machines.gpu import this_gpu
from ponas_deploy.tables.measurement import PERCENTILES
from searchspace.architecture import text_form


def measured_model_report(found: MeasuredModel) -> RenderableType:
    """A row a runtime: percentiles in ms and the noise; below, what networks of a space take as long."""
    rows = table("")
    rows.add_column("runtime")
    for name in (*(f"p{percentile} ms" for percentile in PERCENTILES), "noise floor", "runs"):
        rows.add_column(name, justify="right")
    for one in found.timings:
        timing = one.timing
        rows.add_row(
            f"{one.conditions.backend} {one.conditions.precision}",
            *(digits(timing.percentile_ms(percentile)) for percentile in PERCENTILES),
            f"{timing.noise_floor_pct:.1f} %",
            str(timing.runs),
        )
    conditions = found.timings[0].conditions
    where = f"{conditions.device}, {counted(conditions.threads, 'thread')}, batch {conditions.batch}"
    if conditions.streams > 1:
        where += f", {conditions.streams} streams"
    title = f"Measured: {found.path.name} ({'; '.join(found.inputs)})"
    return Group(titled(title, rows, where), *_below(found))


def _below(found: MeasuredModel) -> Iterator[RenderableType]:
    for one in found.timings:
        if one.disturbed:
            yield Text(one.disturbed, style=WARN)
        for title, value in measured_rows(one.timing, one.conditions):
            yield Text(f"{one.conditions.backend} {one.conditions.precision}, {title}: {value}")
        for beside in one.beside:
            yield Text(_beside(beside, one.timing.percentile_ms(50)))
    device = found.timings[0].conditions.device
    here = is_this_processor(device) or device == this_gpu()
    if here and not any(one.beside for one in found.timings):
        yield Text(
            "No latency table of this machine serves these conditions: `ponas profile` makes one, and"
            " networks that take as long then stand here.",
            style=FAINT,
        )


def _beside(beside: NetworkBeside, measured_ms: float) -> str:
    where, point = f"{beside.table} ({beside.resolution_px} px)", beside.within
    if point is None:
        return f"{where}: every network takes longer, the fastest one {digits(beside.fastest_ms)} ms"
    words = (
        "none that takes longer loses less than" if measured_ms > beside.slowest_ms else "within its time is"
    )
    return (
        f"{where}: {words} {text_form(point.choices)}, predicted {digits(point.latency_ms)} ms and"
        f" {point.loss_pp:.2f} pp loss{_top1(beside)} by accuracy table {beside.accuracy_table}"
    )


def _top1(beside: NetworkBeside) -> str:
    if beside.predicted_top1_pct is UNSET:
        return ""
    return f" (top-1 {beside.predicted_top1_pct:.2f} %, {beside.predicted_top1_of})"
