"""A latency table or an accuracy table, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from statistics import median

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.heat import HeatGrid, fixed_digits, linear_heat, log_heat
from ponas_deploy.commands.reports.style import BAD, FAINT, PLAIN, WARN, counted, digits
from ponas_deploy.tables import AccuracyCertificate, AccuracyTable, Certificate, LatencyTable, SpaceKey
from ponas_deploy.tables.files import AnyTable
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.quality import doubts

_METHODS = {
    "inherited": "networks with inherited weights",
    "trained": "networks trained on their own",
    "held out": "rows held out of the fit",
}


def table_report(table: AnyTable, name: str) -> RenderableType:
    """The grid of a table with its unit and conditions above, its proof and origin below."""
    if isinstance(table, LatencyTable):
        return Group(*_latency(table, name))
    return Group(*_accuracy(table, name))


def _latency(table: LatencyTable, name: str) -> Iterator[RenderableType]:
    grid = table.grid
    flat = [value for row in grid.values for value in row if not isnan(value)]
    micro = not flat or median(flat) < 1
    unit, scale = ("µs", 1e3) if micro else ("ms", 1.0)
    where = table.conditions.text if table.conditions else name
    yield Text(f"Latency in {unit}: {where}", style="bold")
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
    yield from _latency_proof(table)


def _extremes(grid: Grid) -> str:
    low = grid.fixed + sum(min(row) for row in grid.values)
    high = grid.fixed + sum(max(row) for row in grid.values)
    return f"{digits(low)} to {digits(high)} ms by this table"


def _latency_proof(table: LatencyTable) -> Iterator[RenderableType]:
    if table.certificate:
        yield from certificate_lines(table.certificate)
    else:
        yield Text("no certificate: nobody checked how well these sums predict a network", style=WARN)
    for doubt in doubts(table):
        if doubt.severity != "note":
            yield Text(f"{doubt.about}: {doubt.message}", style=BAD if doubt.severity == "error" else WARN)
    if table.correction:
        count = len(table.correction.networks)
        yield Text(f"corrected from {count} whole networks ({table.correction.method})")
    if table.unsettled:
        cells = counted(len(table.unsettled), "cell")
        yield Text(f"{cells} never settled: see `ponas table check`", style=WARN)


def certificate_lines(certificate: Certificate) -> Iterator[Text]:
    """What the certificate says, with the noise floor beside each figure."""
    proof = certificate
    networks = (
        f", on {counted(len(proof.networks), 'other network')}: the mean error is likely"
        f" at most {proof.error_bound_pct:.1f} %"
        if proof.networks
        else ""
    )
    yield Text(
        f"certificate: mean error {proof.mean_error_pct:.1f} %, worst {proof.worst_error_pct:.1f} %"
        f" (noise floor {proof.noise_floor_pct:.1f} %), rank correlation {proof.kendall_tau:.2f}"
        f" (noise allows {proof.noise_tau:.2f}){networks}"
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
    yield from _accuracy_proof(table)


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


def _accuracy_proof(table: AccuracyTable) -> Iterator[RenderableType]:
    if table.origin:
        epochs = ", ".join(f"{count} epochs {stage}" for stage, count in table.origin.epochs)
        yield Text(f"{table.origin.classes} classes, {epochs}, seed {table.origin.seed}", style=FAINT)
    if table.certificate:
        yield from accuracy_certificate_lines(table.certificate)
    else:
        yield Text("no certificate: nobody checked how well summed losses rank real networks", style=WARN)


def accuracy_certificate_lines(proof: AccuracyCertificate) -> Iterator[Text]:
    """What the certificate says, beside what the evaluation noise allows and what MACs alone reach."""
    level = f" at {proof.top1_pct:.0f} % top-1" if proof.top1_pct is not None else ""
    noise = f"noise {digits(proof.noise_pp, 2)} pp{level}" if proof.noise_pp else "noise not known"
    yield Text(
        f"certificate: rank correlation {proof.kendall_tau:.2f} ({proof.kendall_tau_low:.2f} to"
        f" {proof.kendall_tau_high:.2f}) with {counted(proof.networks, 'network')}, {noise}"
    )
    low, high = proof.spearman_low, proof.spearman_high
    interval = f" ({low:.2f} to {high:.2f})" if low is not None and high is not None else ""
    parts = [f"Spearman {proof.spearman:.2f}{interval}"]
    if proof.noise_tau is not None:
        parts.append(f"a second evaluation reaches {proof.noise_tau:.2f}")
    if proof.macs_tau is not None:
        parts.append(f"MACs alone {proof.macs_tau:.2f}")
    yield Text("; ".join(parts), style=FAINT)
    made = ", ".join(part for part in (_METHODS.get(proof.method, proof.method), proof.made_on) if part)
    if made:
        yield Text(f"certified by {made}", style=FAINT)


def _subtitle(space: SpaceKey | None, created: str, more: str) -> Iterator[Text]:
    parts = [f"space {space.name}, {space.resolution} px" if space else "", f"made {created}" * bool(created)]
    line = ", ".join(part for part in (*parts, more) if part)
    if line:
        yield Text(line, style=FAINT)
