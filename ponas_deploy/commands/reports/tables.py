"""A latency table or an accuracy table, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from statistics import median

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.findings import findings_rows
from ponas_deploy.commands.reports.heat import HeatGrid, fixed_digits, linear_heat, log_heat
from ponas_deploy.commands.reports.style import FAINT, PLAIN, WARN, counted, digits
from ponas_deploy.tables.accuracy import AccuracyCertificate, AccuracyTable
from ponas_deploy.tables.accuracy_quality import HELD_OUT, accuracy_findings
from ponas_deploy.tables.files import AnyTable
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Certificate, LatencyTable
from ponas_deploy.tables.measured_how import FitSummary
from ponas_deploy.tables.quality import quality_findings

_METHODS = {
    "inherited": "networks with inherited weights",
    "trained": "networks trained on their own",
    HELD_OUT: "rows held out of the fit",
}


def table_report(table: AnyTable, name: str) -> RenderableType:
    """The grid of a table with its unit and conditions above, its certificate and origin below."""
    if isinstance(table, LatencyTable):
        return Group(*_latency(table, name))
    return Group(*_accuracy(table, name))


def _latency(table: LatencyTable, name: str) -> Iterator[RenderableType]:
    grid = table.grid
    flat = [value for row in grid.values for value in row if not isnan(value)]
    micro = not flat or median(flat) < 1
    unit, scale = ("µs", 1e3) if micro else ("ms", 1.0)
    where = table.conditions.text if table.conditions else name
    what = "Estimated latency" if table.estimated else "Latency"
    yield Text(f"{what} in {unit}: {where}", style="bold")
    yield from _subtitle(table.space, table.created, f"statistic: {table.statistic}" * bool(table.statistic))
    yield Text("")
    values = [value * scale for value in flat]
    scaled = tuple(tuple(value * scale for value in row) for row in grid.values)
    yield HeatGrid(grid.layers, grid.candidates, scaled, log_heat(values), fixed_digits(values))
    yield Text("")
    if grid.fixed:
        corrected = ", corrected on whole networks" if table.correction else ""
        yield Text(f"and a constant of {digits(grid.fixed * scale)} {unit} for stem and head{corrected}")
    yield Text(f"networks take {_extremes(grid)}")
    yield from _latency_certificate(table)


def _extremes(grid: Grid) -> str:
    low, high = grid.extremes
    return f"{digits(low)} to {digits(high)} ms by this table"


def _latency_certificate(table: LatencyTable) -> Iterator[RenderableType]:
    fit = table.protocol.fit
    if table.certificate:
        yield from certificate_lines(table.certificate)
    elif fit:
        yield fit_line(fit)
    elif not table.estimated:
        yield Text("no certificate: nobody checked how well these sums predict a network", style=WARN)
    found = [finding for finding in quality_findings(table) if finding.severity != "note"]
    if found:
        yield findings_rows(found)
    if table.correction:
        count = len(table.correction.networks)
        yield Text(f"corrected from {count} whole networks ({table.correction.method})")
    if table.unsettled:
        cells = counted(len(table.unsettled), "cell")
        yield Text(f"{cells} never settled: see `ponas table check`", style=WARN)


def fit_line(fit: FitSummary) -> Text:
    """How well the fit that made a table predicted the rows that it held out."""
    tail = f", 95 % within {fit.p95_error_pct:.3g} %" if fit.p95_error_pct is not None else ""
    return Text(
        f"fitted to {counted(fit.networks, 'row')} of {fit.file}; held-out rows: mean error"
        f" {fit.mean_error_pct:.3g} %{tail}, rank correlation {fit.tau:.2f}"
        f" ({fit.tau_low:.2f} to {fit.tau_high:.2f})"
    )


def certificate_lines(certificate: Certificate) -> Iterator[Text]:
    """What the certificate says, with the noise floor beside each figure."""
    networks = (
        f", on {counted(len(certificate.networks), 'other network')}: the mean error is likely"
        f" at most {certificate.error_bound_pct:.1f} %"
        if certificate.networks
        else ""
    )
    yield Text(
        f"certificate: mean error {certificate.mean_error_pct:.1f} %,"
        f" worst {certificate.worst_error_pct:.1f} % (noise floor {certificate.noise_floor_pct:.1f} %),"
        f" rank correlation {certificate.kendall_tau:.2f} (noise allows {certificate.noise_tau:.2f})"
        f"{networks}"
    )


def _accuracy(table: AccuracyTable, name: str) -> Iterator[RenderableType]:
    grid = table.top1 or table.loss
    what = "Top-1 accuracy in percent" if table.top1 else "Accuracy loss in percentage points"
    yield Text(f"{what}: {table.origin.text if table.origin else name}", style="bold")
    yield from _subtitle(table.space, table.created, "")
    yield Text("")
    yield _accuracy_grid(table, grid)
    yield Text("")
    tied = sum(sum(loss == 0 for loss in row) > 1 for row in table.loss.values)
    equal = f"; in {counted(tied, 'layer')} several are equally good" if tied else ""
    yield Text(f"* the best of its layer{equal}")
    if any(map(any, table.ties)):
        yield Text("= a tie with the best: the difference is below the noise of the evaluation")
    yield from _top1_scale(table)
    yield from _accuracy_certificate(table)


def _top1_scale(table: AccuracyTable) -> Iterator[RenderableType]:
    """What summed losses stand for, and the range of the measured networks."""
    most = table.predicted_top1(0.0)
    if most is None or table.top1_scale is None:
        return
    yield Text(f"predicts top-1, at no loss {most.text}")
    if measured := table.top1_scale.measured:
        span = f"{measured.least_pct:.2f} to {measured.greatest_pct:.2f} %"
        yield Text(f"fitted to {counted(measured.networks, 'network')} of {span}", style=FAINT)
    if terms := table.resolution_terms:
        others = [one.resolution for one in terms.terms if one.resolution != table.measured_px]
        yield Text(f"other resolutions lose {terms.text(others)}", style=FAINT)


def _accuracy_grid(table: AccuracyTable, grid: Grid) -> HeatGrid:
    flat = [value for row in grid.values for value in row if not isnan(value)]
    heat = linear_heat(max(flat), min(flat)) if table.top1 else linear_heat(0.0, max(flat))
    marks = tuple(
        tuple("*" if loss == 0 else "=" if tie else "" for loss, tie in zip(losses, ties, strict=True))
        for losses, ties in zip(table.loss.values, table.ties, strict=True)
    )
    return HeatGrid(grid.layers, grid.candidates, grid.values, heat, _percent, marks)


def _percent(value: float) -> str:
    return f"{value:.2f}" if abs(value) < PLAIN else f"{value:.3g}"


def _accuracy_certificate(table: AccuracyTable) -> Iterator[RenderableType]:
    if table.origin:
        epochs = (f"{count} epochs {stage}" for stage, count in table.origin.epochs)
        made = (f"{table.origin.classes} classes", *epochs, f"seed {table.origin.seed}")
        yield Text(", ".join(made), style=FAINT)
    if table.certificate:
        yield from accuracy_certificate_lines(table.certificate)
    else:
        yield Text("no certificate: nobody checked how well summed losses rank real networks", style=WARN)
    if found := accuracy_findings(table):
        yield findings_rows(found)


def accuracy_certificate_lines(certificate: AccuracyCertificate) -> Iterator[Text]:
    """What the certificate says, beside what the evaluation noise allows and what MACs alone reach."""
    level = f" at {certificate.top1_pct:.0f} % top-1" if certificate.top1_pct is not None else ""
    noise = (
        f"noise {digits(certificate.noise_pp, 2)} pp{level}" if certificate.noise_pp else "noise not known"
    )
    yield Text(
        f"certificate: rank correlation {certificate.kendall_tau:.2f} ({certificate.kendall_tau_low:.2f} to"
        f" {certificate.kendall_tau_high:.2f}) with {counted(certificate.networks, 'network')}, {noise}"
    )
    low, high = certificate.spearman_low, certificate.spearman_high
    interval = f" ({low:.2f} to {high:.2f})" if low is not None and high is not None else ""
    parts = [f"Spearman {certificate.spearman:.2f}{interval}"]
    if certificate.rmse_pp is not None:
        parts.append(f"top-1 is predicted to {digits(certificate.rmse_pp, 2)} pp (root mean square)")
    if certificate.noise_tau is not None:
        parts.append(f"a second evaluation reaches {certificate.noise_tau:.2f}")
    if certificate.macs_tau is not None:
        parts.append(f"MACs alone {certificate.macs_tau:.2f}")
    yield Text("; ".join(parts), style=FAINT)
    made = ", ".join(
        part for part in (_METHODS.get(certificate.method, certificate.method), certificate.made_on) if part
    )
    if made:
        yield Text(f"certified by {made}", style=FAINT)


def _subtitle(space: SpaceKey | None, created: str, more: str) -> Iterator[Text]:
    parts = [f"space {space.name}, {space.resolution} px" if space else "", f"made {created}" * bool(created)]
    line = ", ".join(part for part in (*parts, more) if part)
    if line:
        yield Text(line, style=FAINT)
