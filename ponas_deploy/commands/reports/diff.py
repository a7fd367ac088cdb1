"""What moved between two tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.heat import HeatGrid
from ponas_deploy.commands.reports.style import FAINT, GOOD, counted, digits, table, titled
from ponas_deploy.tables.changes import Change
from ponas_deploy.tables.diff import TableDiff

_SHOWN = 10
_FULL_HEAT = {"%": 30.0, "pp": 3.0}
"""A change of this size has the strongest colour."""


def diff_report(diff: TableDiff, before: str, after: str) -> RenderableType:
    """The conditions that differ, the change of each cell, the shift of all and the largest moves."""
    return Group(*_parts(diff, before, after))


_COLUMNS = {"latency_ms": ("latency", "ms"), "loss_pp": ("loss", "pp"), "top1_pct": ("top-1", "%")}
"""What the column of a table is for people, and its unit."""


def _parts(diff: TableDiff, before: str, after: str) -> Iterator[RenderableType]:
    what, _ = _COLUMNS[diff.column]
    yield Text(f"Change of {what} in {diff.unit}, from {before} to {after}", style="bold")
    if diff.conditions:
        yield _conditions(diff.conditions)
    else:
        yield Text("made under the same conditions", style=FAINT)
    significant, marked = diff.significant, ", marked *" if not diff.moved_together else ""
    if not any(change.change for change in diff.changes):
        yield from _constant(diff)
        yield Text("no cell differs", style=GOOD)
        return
    yield _grid(diff)
    yield Text("")
    yield Text(
        f"mean change {diff.mean_change:+.1f} {diff.unit}, mean size {diff.mean_size:.1f} {diff.unit};"
        f" {len(significant)} of {counted(len(diff.changes), 'cell')} moved by more than noise"
        f" ({diff.judged_by}{marked})"
    )
    if diff.moved_together:
        yield Text(
            f"all of them moved by {diff.common_change:+.1f} % together (the median);"
            f" {counted(len(diff.own), 'cell')} moved otherwise, by more than noise (marked *)"
        )
    yield from _constant(diff)
    if diff.marked:
        yield Text("")
        yield _moves(diff, diff.marked)


def _constant(diff: TableDiff) -> Iterator[RenderableType]:
    """What became of the constant that every network has; nothing where it is the same."""
    if diff.fixed_before == diff.fixed_after:
        return
    _, unit = _COLUMNS[diff.column]
    yield Text(f"the constant went from {digits(diff.fixed_before)} to {digits(diff.fixed_after)} {unit}")


def _conditions(conditions: Sequence[tuple[str, str, str]]) -> RenderableType:
    rows = table("")
    for name in ("what differs", "before", "after"):
        rows.add_column(name, overflow="fold")
    for row in conditions:
        rows.add_row(*map(Text, row))
    return rows


def _grid(diff: TableDiff) -> HeatGrid:
    """The changes as a grid: worse is warm, better is cold."""
    rows, marked = dict[str, list[Change]](), set(diff.marked)
    for change in diff.changes:
        rows.setdefault(change.layer, []).append(change)
    full = -_FULL_HEAT[diff.unit] if diff.column == "top1_pct" else _FULL_HEAT[diff.unit]
    decimals = 0 if diff.unit == "%" else 2
    return HeatGrid(
        tuple(rows),
        tuple(tuple(change.candidate for change in row) for row in rows.values()),
        tuple(tuple(change.change for change in row) for row in rows.values()),
        lambda value: 0.5 + value / (2 * full),
        lambda value: f"{value:+.{decimals}f}" if round(value, decimals) else "0",
        tuple(tuple("*" if change in marked else "" for change in row) for row in rows.values()),
    )


def _moves(diff: TableDiff, changes: Sequence[Change]) -> RenderableType:
    """The largest moves; layers that share a block, and so a move, share a row."""
    rows = table("")
    rows.add_column("layers")
    rows.add_column("candidate")
    _, unit = _COLUMNS[diff.column]
    for name in (f"before {unit}", f"after {unit}", "change"):
        rows.add_column(name, justify="right")
    alike: dict[tuple[str, float, float], list[Change]] = {}
    for change in changes:
        alike.setdefault((change.candidate, change.before, change.after), []).append(change)
    for (candidate, before, after), same in list(alike.items())[:_SHOWN]:
        moved = f"{same[0].change:+.1f} %" if diff.unit == "%" else f"{same[0].change:+.2f} pp"
        layers = ", ".join(change.layer for change in same)
        rows.add_row(layers, candidate, digits(before), digits(after), moved)
    return titled("Largest moves", rows)
