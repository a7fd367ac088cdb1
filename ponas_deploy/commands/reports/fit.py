"""What a fit found, and predictions beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.findings import findings_rows
from ponas_deploy.commands.reports.style import FAINT, WARN, counted, digits, table, titled
from ponas_deploy.fitting import Fit, Predictions
from searchspace.architecture import text_form

_SHOWN = 20


def fit_report(fit: Fit, out: str) -> RenderableType:
    """How well held-out rows are predicted, and the findings about the table."""
    return Group(*_parts(fit, out))


def _parts(fit: Fit, out: str) -> Iterator[RenderableType]:
    name = fit.networks.path.name
    rows = counted(len(fit.networks), "row")
    yield Text(f"{fit.kind.capitalize()} table from {rows} of {name}", style="bold")
    space = f"space {fit.space.name}" if fit.space else "a space not known here"
    cells = f"{counted(len(fit.layout.layers), 'layer')}, {counted(fit.layout.size, 'cell')}"
    yield Text(f"{space}: {cells}; {counted(fit.distinct, 'different network')}", style=FAINT)
    yield Text("")
    unit = "%" if fit.kind == "latency" else "pp"
    errors = fit.errors
    tau = fit.tau
    yield Text(f"held-out rows: rank correlation {tau.tau:.2f} ({tau.low:.2f} to {tau.high:.2f})")
    mean, median, most = (
        digits(float(value), 2) for value in (errors.mean(), np.median(errors), np.quantile(errors, 0.95))
    )
    yield Text(
        f"error: mean {mean} {unit}, median {median} {unit}, 95 % within {most} {unit}; {_noise(fit, unit)}"
    )
    yield Text(f"effects: {_effects(fit)}", style=FAINT)
    yield Text("")
    yield findings_rows(fit.findings)
    yield Text(f"written to {out}")


def _noise(fit: Fit, unit: str) -> str:
    if not fit.noise.freedom:
        return "no network was measured twice, so the noise is not known"
    return f"repeats scatter by {digits(fit.noise_value, 2)} {unit}"


def _effects(fit: Fit) -> str:
    alike = {
        "cells": "each cell on its own",
        "labels": "equal labels of all layers drawn together",
        "factors": "equal parts of labels (kernel, expansion, ...) drawn together in each layer",
        "shared factors": "equal parts of labels (kernel, expansion, ...) drawn together in all layers",
    }
    scale = {
        "latency": "milliseconds",
        "log-error": "the logarithm of the error",
        "points": "points of accuracy",
    }
    ridge = "1 row" if fit.model.ridge == 1 else f"{fit.model.ridge:g} rows"
    above = f" above {fit.scale.floor_pct:g} %" if fit.scale.floor_pct else ""
    return f"{scale[fit.scale.name]}{above}, {alike[fit.model.prior]}, ridge of {ridge}"


def predictions_report(found: Predictions, name: str) -> RenderableType:
    """The first predictions, beside what was measured, and how far they are off."""
    unit = "ms" if found.kind == "latency" else "%"
    same = found.networks.kind == found.kind
    rows = table("")
    for column in ("line", f"predicted {unit}", *([f"measured {unit}"] if same else [])):
        rows.add_column(column, justify="right")
    rows.add_column("network", overflow="ellipsis", no_wrap=True)
    for index, value in enumerate(found.values[:_SHOWN]):
        measured = [digits(found.networks.values[index])] if same else []
        choices = Text(text_form(found.networks.choices[index]))
        shown = Text("not known", style=WARN) if isnan(value) else digits(value)
        rows.add_row(str(found.networks.lines[index]), shown, *measured, choices)
    of = f"top-1: {found.top1_of}" if found.top1_of else found.estimated
    parts: list[RenderableType] = [titled(f"{counted(len(found.values), 'network')} by {name}", rows, of)]
    if len(found.values) > _SHOWN:
        more = len(found.values) - _SHOWN
        parts.append(Text(f"and {more:,} more: --json holds them all", style=FAINT))
    if found.tau is not None and found.mean_error is not None:
        error = f"{digits(found.mean_error, 2)} {'%' if found.kind == 'latency' else 'pp'}"
        parts.append(Text(f"mean error {error}, rank correlation {found.tau.tau:.2f}"))
    return Group(*parts)
