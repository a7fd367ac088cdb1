"""The devices that are known, and what this machine can run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import FAINT, WARN, table, titled
from ponas_deploy.machines.machine import Machine
from ponas_deploy.profiling.inventory import Runtime
from ponas_deploy.tables.store import StoredTable


def devices_report(
    here: Machine,
    runtimes: Sequence[Runtime],
    gpu: tuple[str, Sequence[Runtime]],
    found: Mapping[str, Sequence[StoredTable]],
    home: Path,
    problems: Sequence[str],
) -> Iterator[RenderableType]:
    """This machine with its runtimes and its GPU with others, then the tables that there are by device."""
    model = f" ({here.model})" if here.model else ""
    described = f"{here.processor}{model}, {here.cores} cores, {here.os}"
    yield _runtimes(f"This machine: {here.name}", described, runtimes)
    name, on_gpu = gpu
    if name:
        yield _runtimes(f"Its GPU: {name}", "profiled with --device gpu", on_gpu)
    yield Text(f"your store: {home} (latency tables below its folder 'latency')", style=FAINT)
    for problem in problems:
        yield Text(problem, style=WARN)
    if not found:
        yield Text("No latency table is stored yet: ponas profile --device cpu makes one.", style=FAINT)
        return
    tables = table("Devices with latency tables")
    for column in ("device", "table", "made on"):
        tables.add_column(column, overflow="fold")
    for device, stored in found.items():
        for place, one in enumerate(stored):
            origin = "came with the package: " if one.shipped else ""
            tables.add_row("" if place else device, one.name, f"{origin}{one.made_on}")
    yield tables


def _runtimes(title: str, caption: str, runtimes: Sequence[Runtime]) -> RenderableType:
    rows = table("")
    rows.add_column("runtime")
    rows.add_column("precisions")
    for runtime in runtimes:
        known = Text(runtime.problem, style=WARN) if runtime.problem else Text(", ".join(runtime.precisions))
        rows.add_row(runtime.backend, known)
    return titled(title, rows, caption)
