"""The devices that are known, and what this machine can run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.text import Text

from ponas_deploy.boards.book import Entry, book_path
from ponas_deploy.boards.facts import BoardRecord
from ponas_deploy.commands.reports.style import FAINT, WARN, ByWidth, table, titled
from ponas_deploy.profiling.devices import Inventory, Runtime
from ponas_deploy.tables.store import StoredTable

_WIDE = 145
"""Columns from which on each figure of a table has one of its own."""


def devices_report(
    found: Inventory, boards: Sequence[tuple[Entry, BoardRecord | None]]
) -> Iterator[RenderableType]:
    """This machine with its runtimes and its GPU with others, the boards, then all tables by device."""
    here = found.here
    model = f" ({here.model})" if here.model else ""
    described = f"{here.processor}{model}, {here.cores} cores, {here.os}"
    yield _runtimes(f"This machine: {here.name}", described, found.runtimes)
    if found.gpu:
        yield _runtimes(f"Its GPU: {found.gpu}", "profiled with --device gpu", found.gpu_runtimes)
    if boards:
        yield _boards(boards)
    yield Text(f"your store: {found.home} (latency tables below its folder 'latency')", style=FAINT)
    for problem in found.unreadable:
        yield Text(problem, style=WARN)
    if not found.tables:
        yield Text("No latency table is stored yet: ponas profile --device cpu makes one.", style=FAINT)
        return
    yield tables_report("Devices with latency tables", found.tables)


def tables_report(title: str, tables: Mapping[str, Sequence[StoredTable]]) -> RenderableType:
    """The latency tables of devices by their names: what each was made on below it, or in columns."""
    return ByWidth(_WIDE, _in_words(title, tables), _in_columns(title, tables))


def _in_columns(title: str, tables: Mapping[str, Sequence[StoredTable]]) -> RenderableType:
    rows = table(title, "Errors are of networks that had no part in making the table.")
    for column in ("device", "table", "made"):
        rows.add_column(column, overflow="fold")
    for column in ("mean error", "worst", "tau", "noise floor"):
        rows.add_column(column, justify="right", no_wrap=True)
    rows.add_column("")
    for device, stored in tables.items():
        for place, one in enumerate(stored):
            certificate = one.table.certificate
            figures = (
                (
                    f"{certificate.mean_error_pct:.1f} %",
                    f"{certificate.worst_error_pct:.1f} %",
                    f"{certificate.kendall_tau:.2f}",
                    f"{certificate.noise_floor_pct:.1f} %",
                )
                if certificate
                else (Text("estimated" if one.table.estimated else "not known", style=WARN), "", "", "")
            )
            said = one.table.estimated.partition(" (")[0]
            origin = "came with the package" if one.shipped else said
            rows.add_row("" if place else device, one.name, one.table.created[:10], *figures, origin)
    return rows


def _in_words(title: str, tables: Mapping[str, Sequence[StoredTable]]) -> RenderableType:
    rows = table(title)
    for column in ("device", "table"):
        rows.add_column(column, overflow="fold")
    for device, stored in tables.items():
        for place, one in enumerate(stored):
            origin = "came with the package: " if one.shipped else ""
            rows.add_row("" if place else device, f"{one.name}\n{origin}{one.made_on}")
    return rows


def _boards(boards: Sequence[tuple[Entry, BoardRecord | None]]) -> RenderableType:
    rows = table("Boards of your device book", str(book_path()))
    for column in ("board", "reached by", "what it is"):
        rows.add_column(column, overflow="fold")
    for entry, record in boards:
        reached = entry.board.host or " ".join(entry.board.command or ()) or "a process of this machine"
        if record is None:
            told = Text(f"not asked yet: ponas devices test {entry.name}", style=WARN)
        else:
            facts = record.facts
            told = Text(f"{facts.board or facts.processor}, {facts.cores} cores, {facts.os}")
        rows.add_row(", ".join(entry.names), reached, told)
    return rows


def _runtimes(title: str, caption: str, runtimes: Sequence[Runtime]) -> RenderableType:
    rows = table("")
    for column in ("runtime", "precisions"):
        rows.add_column(column, overflow="fold")
    for runtime in runtimes:
        known = Text(runtime.problem, style=WARN) if runtime.problem else Text(", ".join(runtime.precisions))
        rows.add_row(runtime.backend, known)
    return titled(title, rows, caption)
