"""`ponas profile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponas_deploy.commands.options import (
    Backends,
    Batch,
    Classes,
    Force,
    Json,
    Precisions,
    Resolution,
    Seed,
    SpaceName,
    Threads,
)
from ponas_deploy.commands.output import note, print_json, show

if TYPE_CHECKING:
    from ponas_deploy.store import StoredTable
    from ponas_deploy.tables import LatencyTable


def profile(
    device: Annotated[
        str, typer.Option(metavar="NAME", help="cpu: this machine. A device is profiled where it stands.")
    ] = "cpu",
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What to call this machine in its tables (jetson, lab-pi, ...)."),
    ] = None,
    backend: Backends = None,
    precision: Precisions = None,
    threads: Threads = 1,
    batch: Batch = 1,
    space: SpaceName = None,
    resolution: Resolution = 224,
    classes: Classes = 1000,
    time: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=5, help="Time for each table; more time, tighter intervals."),
    ] = 75,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the tables here instead of your store.")
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Measure this machine: every candidate block on every layer shape, into certified latency tables.

    One table for each runtime and precision. Whole networks are timed too: some correct the table, others
    certify it. The same command again goes on: with a profile that was interrupted where it stopped, with a
    table that ran out of time by adding rounds to it (--force measures it anew).

    \b
    Examples:
      ponas profile --device cpu
      ponas profile --device cpu --backend openvino --precision bf16 --threads 2
      ponas profile --device cpu --name jetson --out tables/
    """
    from dataclasses import replace

    from ponas_deploy.commands.architectures import DEFAULT_SPACE
    from ponas_deploy.commands.profiling import profile_with_bar
    from ponas_deploy.errors import PonasError
    from ponas_deploy.inventory import Wish, missing
    from ponas_deploy.store import StoredTable, latency_path
    from ponas_deploy.tables import SpaceKey, load_latency_table
    from searchspace import build_space

    built = build_space(space or DEFAULT_SPACE, resolution, classes)
    wish = Wish(device, built, tuple(backend or ()), tuple(precision or ()), threads, batch)
    if not wish.local:
        raise PonasError(f"'{device}' is not this machine: run `ponas profile --device cpu` on it.")
    paths = {}
    for conditions in missing(wish, ()):
        named = replace(conditions, device=name or conditions.device)
        path = latency_path(named, SpaceKey.of(built))
        paths[named] = out / path.name if out else path
    made = []
    for named, path in paths.items():
        found = None if force or not path.exists() else StoredTable(path, load_latency_table(path))
        if found and dict(found.table.protocol).get("stopped_by") != "time":
            note(f"{path} has all its rounds and is kept (--force measures it anew)")
            made.append(found)
        else:
            further = found is not None
            made.append(
                profile_with_bar(named, built, time, path=path, overwrite=force, further=further, seed=seed)
            )
    for stored in made:
        note(_reached(stored))
    if json:
        print_json({"tables": [_document(stored) for stored in made]})
        return
    from ponas_deploy.reports.profile import profile_report

    show(profile_report(made))


def _interval_pct(table: LatencyTable) -> float:
    """Half the width of a cell's interval in percent of its value; the median over all cells."""
    from statistics import median

    cells = zip(
        (value for row in table.grid.values for value in row),
        (interval for row in table.intervals_ms for interval in row),
        strict=True,
    )
    return median(50 * (high - low) / value for value, (low, high) in cells)


def _reached(stored: StoredTable) -> str:
    """How exact a table is, and what may make it more so."""
    table = stored.table
    more = "; the same command again adds rounds" if dict(table.protocol).get("stopped_by") == "time" else ""
    return f"{stored.conditions.text}: cells are known to {_interval_pct(table):.1f} % (median){more}"


def _document(stored: StoredTable) -> dict[str, object]:
    certificate = stored.table.certificate
    return {
        "path": str(stored.path),
        "name": stored.name,
        "conditions": stored.conditions.document(),
        "statistic": stored.table.statistic,
        "interval_pct": _interval_pct(stored.table),
        "unsettled": len(stored.table.unsettled),
        "mean_error_pct": certificate and certificate.mean_error_pct,
        "worst_error_pct": certificate and certificate.worst_error_pct,
        "isolated_mean_error_pct": certificate and certificate.isolated_mean_error_pct,
        "kendall_tau": certificate and certificate.kendall_tau,
        "noise_floor_pct": certificate and certificate.noise_floor_pct,
        "noise_tau": certificate and certificate.noise_tau,
    }
