"""Where one stands: tables, boards, engines and runs, each with its age and what speaks against it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.checks.overview import BoardState, EngineState, Overview, RunState, TableState
from ponas_deploy.commands.reports.style import BAD, FAINT, GOOD, WARN, ByWidth, digits, table

_WIDE = 116
"""Columns from which on all figures of a certificate stand beside a table's name."""


def overview_report(found: Overview) -> Iterator[RenderableType]:
    """This machine, then a table of each kind that there is."""
    yield Text(f"This machine: {found.machine}", style="bold")
    yield Text(f"{found.processor}{f'; GPU: {found.gpu}' * bool(found.gpu)}", style=FAINT)
    yield Text(f"your store: {found.store}", style=FAINT)
    yield Text("")
    if found.tables:
        yield ByWidth(_WIDE, _tables(found.tables, wide=False), _tables(found.tables, wide=True))
        yield Text("")
    else:
        yield Text("No latency table of this machine, nor of a board of your device book.\n")
    if found.boards:
        yield _boards(found.boards)
    if found.engines:
        yield ByWidth(_WIDE, _engines(found.engines, wide=False), _engines(found.engines, wide=True))
    if found.runs:
        yield _runs(found.runs)
    if found.unreadable:
        title = Text("Cannot be read", style=f"bold {BAD}")
        yield Group(title, *(Text(problem, style=WARN) for problem in found.unreadable), Text(""))


def age(days: float | None) -> str:
    """An age for people: 5 min, 3 h, 12 d, 4 months."""
    if days is None:
        return "?"
    for unit, length in (("months", 30.44), ("d", 1.0), ("h", 1 / 24)):
        if days >= (2 if unit == "months" else 1) * length:
            return f"{days / length:.0f} {unit}"
    return f"{days * 1440:.0f} min"


def _tables(tables: Sequence[TableState], *, wide: bool) -> RenderableType:
    rows = table("Latency tables", "Errors are of networks that had no part in making the table.")
    rows.add_column("table", overflow="fold")
    for name in ("age", "mean error", *(("worst", "tau", "noise floor") if wide else ())):
        rows.add_column(name, justify="right", no_wrap=True)
    for one in tables:
        cells = [Text(age(one.age_days)), _certified(one)]
        if wide:
            cells += [Text(_or_not(value, form)) for value, form in _figures(one)]
        more = f"ponas table check {shlex.quote(one.name)}"
        rows.add_row(_warned(one.name, one.warnings, more), *cells)
    return rows


def _figures(one: TableState) -> tuple[tuple[float | None, str], ...]:
    return (one.worst_error_pct, "{:.1f} %"), (one.kendall_tau, "{:.2f}"), (one.noise_floor_pct, "{:.1f} %")


def _or_not(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _certified(one: TableState) -> Text:
    if one.mean_error_pct is not None:
        return Text(f"{one.mean_error_pct:.1f} %")
    return Text("estimated" if one.estimated else "not known", style=WARN)


def _warned(name: str, warnings: Sequence[str], more: str) -> Text:
    """A name with the first of what speaks against it below, and where the rest is found."""
    shown = Text(name)
    if warnings:
        shown.append(f"\n- {warnings[0]}", style=WARN)
    if len(warnings) > 1:
        shown.append(f"\n  and {len(warnings) - 1} more: {more}", style=FAINT)
    return shown


def _boards(boards: Sequence[BoardState]) -> RenderableType:
    rows = table("Boards of your device book")
    for name in ("board", "what it is", "latency tables"):
        rows.add_column(name, overflow="fold", justify="right" if name == "latency tables" else "left")
    for one in boards:
        what = Text(one.is_what) if one.asked else Text("not asked yet", style=WARN)
        rows.add_row(one.name, what, str(one.tables) if one.tables else Text("none", style=WARN))
    return rows


def _engines(engines: Sequence[EngineState], *, wide: bool) -> RenderableType:
    """Where it is not wide, device and runtime stand below the name."""
    rows = table("Engines in engines/")
    for name in ("engine", *(("device", "runtime") if wide else ())):
        rows.add_column(name, overflow="fold")
    for name in ("measured", "age"):
        rows.add_column(name, justify="right", no_wrap=True)
    rows.add_column("budget", overflow="fold")
    for one in engines:
        said = one.warnings if one.trained else ("random weights", *one.warnings)
        measured = "not measured" if one.measured_ms is None else f"{digits(one.measured_ms)} ms"
        name = one.folder.partition("/")[2]
        runs = (one.device, one.runtime) if wide else ()
        below = "" if wide else f"\n  {one.runtime} on {one.device}"
        rows.add_row(
            _warned(f"{name}{below}", said, "see its manifest.json"),
            *runs,
            measured,
            age(one.age_days),
            _budget(one),
        )
    return rows


def _budget(one: EngineState) -> Text:
    if one.budget_ms is None:
        return Text("none")
    style = {"met": GOOD, "missed": BAD}.get(one.verdict, WARN)
    verdict = one.verdict.replace("_", " ") or "not measured"
    return Text(f"{verdict} ({digits(one.budget_ms)} ms)", style=style)


def _runs(runs: Sequence[RunState]) -> RenderableType:
    rows = table("Training runs in runs/")
    for name in ("run", "stage", "best top-1", ""):
        rows.add_column(name, overflow="fold", justify="right" if name == "best top-1" else "left")
    for one in runs:
        state = "running" if one.running else "" if one.stage == "done" else "stopped"
        best = "" if one.best_top1_pct is None else f"{one.best_top1_pct:.2f} %"
        stage = Text(one.stage, style=GOOD if one.stage == "done" else "")
        rows.add_row(one.folder.partition("/")[2], stage, best, Text(state, style=WARN))
    return rows
