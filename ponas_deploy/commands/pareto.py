"""`ponas pareto`."""

from __future__ import annotations

from typing import Annotated

import typer

from ponas_deploy.commands import completing
from ponas_deploy.commands.device_tables import files_of_devices
from ponas_deploy.commands.help_text import TABLES
from ponas_deploy.commands.options import (
    AccuracyTableFiles,
    Backends,
    Batch,
    Devices,
    EngineClasses,
    Json,
    Precisions,
    SeveralResolutions,
    SpaceName,
    Threads,
)
from ponas_deploy.commands.output import note, print_json, show


def pareto(
    latency_tables: Annotated[
        list[str] | None,
        typer.Option(
            "--latency-table",
            metavar="FILE",
            autocompletion=completing.latency_tables,
            show_default=False,
            help="A latency table: JSON, CSV (layer,candidate,latency_ms) or a stored name. May be repeated.",
            rich_help_panel=TABLES,
        ),
    ] = None,
    accuracy_table: AccuracyTableFiles = None,
    device: Devices = None,
    space: SpaceName = None,
    backend: Backends = None,
    precision: Precisions = None,
    threads: Threads = 1,
    batch: Batch = 1,
    resolution: SeveralResolutions = None,
    classes: EngineClasses = None,
    json: Json = False,
) -> None:
    """Compute the Pareto front; compare several tables.

    With one latency table: every network that no other beats in both latency and loss. With several:
    for each budget which one loses least, who dominates whom, and one sentence of verdict. Exact; a front of
    very many networks is cut, and a warning says how far the networks left out may be from those listed.

    --device takes all tables that a device has of the space, or those of --backend, --precision, --threads,
    --batch and --resolution; nothing is measured. May be repeated, and stand beside --latency-table.

    Tables of several resolutions have a front each, merged by what their networks lose: by an accuracy table
    of each resolution, or by one that says what other resolutions lose, as that of ofa-mbv3 does.

    \b
    Examples:
      ponas pareto --latency-table latency.csv --accuracy-table loss.csv --json
      ponas pareto --latency-table ort.json --latency-table openvino.json \\
        --accuracy-table acc.json
      ponas pareto --latency-table 160px.json --latency-table 224px.json
      ponas pareto --device amd-epyc-2c --device intel-xeon-2c --space ponas \\
        --precision fp32
    """
    files = list(latency_tables or ())
    if device:
        files += files_of_devices(
            device, files, space, resolution, classes, (backend, precision, threads, batch)
        )
    elif idle := [
        name
        for name, value in {
            "--space": space,
            "--backend": backend,
            "--precision": precision,
            "--threads": threads > 1,
            "--batch": batch > 1,
            "--resolution": resolution,
            "--classes": classes,
        }.items()
        if value
    ]:
        raise typer.BadParameter(f"{', '.join(idle)}: only with --device, whose tables they choose.")
    if not files:
        raise typer.BadParameter("name a --latency-table, or a --device that has some.")
    from ponas_deploy.search.comparison import compare_fronts, pareto_document, thinned_warnings
    from ponas_deploy.search.sides import comparable, fronts_of, side_warnings, sides_of
    from ponas_deploy.tables.named import read_accuracy_tables, read_latency_tables
    from ponas_deploy.tables.units import table_doubt

    tables, names = read_latency_tables(files, note)
    sides = sides_of(tables, read_accuracy_tables(accuracy_table or [], tables[0], note))
    own = fronts_of(sides)
    fronts, predict = comparable(sides, names, own)
    for name, table in zip(names, tables, strict=True):
        if doubt := table_doubt(table.grid):
            note(f"{name}: {doubt}")
    warnings = (*side_warnings(sides, names, own), *thinned_warnings(fronts))
    if json:
        print_json(pareto_document(fronts, [table.grid for table in tables], warnings, predict))
        return
    from ponas_deploy.commands.reports.findings import warning_lines
    from ponas_deploy.commands.reports.pareto import comparison_report, front_report

    if warnings:
        show(warning_lines(warnings))
    if len(fronts) > 1:
        show(comparison_report(compare_fronts(fronts), fronts, predict))
    else:
        show(front_report(fronts[0], predict))
