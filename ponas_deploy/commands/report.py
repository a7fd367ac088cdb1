"""`ponas report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponas_deploy.commands import completing
from ponas_deploy.commands.device_tables import files_of_devices
from ponas_deploy.commands.help_text import EFFORT, IMAGES, TABLES
from ponas_deploy.commands.options import (
    AccuracyTableFiles,
    Backends,
    Batch,
    Devices,
    EngineClasses,
    Force,
    Json,
    Precisions,
    SeveralResolutions,
    SpaceName,
    Threads,
)
from ponas_deploy.commands.output import note, print_json

if TYPE_CHECKING:
    from ponas_deploy.charts.report import Report
    from ponas_deploy.charts.written import FileKind, WrittenFile
    from ponas_deploy.engines.engine import Engine
    from ponas_deploy.tables.store import StoredTable


def report(
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE", help="The page; pictures are written beside it.", rich_help_panel=EFFORT
        ),
    ] = Path("report.html"),
    formats: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME,...", help="What to write: html, png, svg.", rich_help_panel=EFFORT
        ),
    ] = "html",
    latency_tables: Annotated[
        list[str] | None,
        typer.Option(
            "--latency-table",
            metavar="FILE",
            autocompletion=completing.latency_tables,
            show_default="your stored ones",
            help="A latency table: JSON, CSV (layer,candidate,latency_ms) or a stored name. May be repeated.",
            rich_help_panel=TABLES,
        ),
    ] = None,
    accuracy_table: AccuracyTableFiles = None,
    compared: Annotated[
        list[Path] | None,
        typer.Option(
            "--compared",
            metavar="FILE",
            help="Measured networks for the chart of fronts: what `ponas compare --device cpu --json`"
            " printed, or a CSV (network,latency_ms,top1_pct). May be repeated.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    engine: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="An engine: where its time goes, and its place on the chart.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    stock_layers: Annotated[
        str | None,
        typer.Option(
            "--stock-layers",
            metavar="NAME|FILE",
            help="A stock network of `ponas compare`, or an ONNX model, whose layers are timed here by ONNX"
            " Runtime's profiler.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    device: Devices = None,
    space: SpaceName = None,
    backend: Backends = None,
    precision: Precisions = None,
    threads: Threads = 1,
    batch: Batch = 1,
    resolution: SeveralResolutions = None,
    classes: EngineClasses = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write a page of charts of tables, networks and an engine.

    One HTML file that opens without a network, in light and dark, on paper and on a telephone. It shows

    \b
      - the fronts of all latency tables: what a latency buys in accuracy,
        with measured networks beside (--compared) and the engine's own
        measurement (--engine);
      - a map of what each candidate of each layer takes, and of what each loses;
      - predicted against measured latency of the networks that certify a
        table, with the noise;
      - where the time goes, layer by layer, in an engine (--engine, by the
        latency table) and in a stock network (--stock-layers, timed here).

    Behind each chart stand its numbers with their units, and above all of them device, runtime, dates and
    certificates. Point at a mark to see its network, or walk along them with the arrow keys. Estimated
    latencies and random weights are marked. What cannot be drawn of what was given is named at the end.

    Without --latency-table and --device these are the tables of your store, with --engine those that serve
    its conditions; --space takes those of one search space. Nothing is measured but with --stock-layers.
    Charts as pictures (--format html,png,svg) are named after the page: report-front-1.png. Drawing needs
    the extra report: pip install 'ponas-deploy[report]'.

    \b
    Examples:
      ponas report --out report.html
      ponas report --device amd-epyc-2c --device intel-xeon-2c --space ponas
      ponas compare --device cpu --json > compared.json
      ponas report --compared compared.json --engine engine \\
        --stock-layers mobilenetv3_large_100
      ponas report --latency-table latency.csv --accuracy-table loss.csv \\
        --format html,png,svg --json
    """
    from ponas_deploy.charts import drawing
    from ponas_deploy.charts.make import report as make_report
    from ponas_deploy.charts.written import report_document
    from ponas_deploy.engines.engine import Engine
    from ponas_deploy.tables import store

    kinds = _kinds(formats)
    idle = {
        "--backend": backend,
        "--precision": precision,
        "--threads": threads > 1 and not stock_layers,
        "--batch": batch > 1,
        "--resolution": resolution,
        "--classes": classes,
        "--space": space and (latency_tables or engine),
    }
    if not device and (named := [name for name, value in idle.items() if value]):
        raise typer.BadParameter(f"{', '.join(named)}: only with --device, whose tables they choose.")
    if out.suffix.lower() != ".html":
        raise typer.BadParameter("the page is HTML: name it .html.", param_hint="--out")
    drawing.require()
    files = list(latency_tables or ())
    if device:
        how = backend, precision, threads, batch
        files += files_of_devices(device, files, space, resolution, classes, how)
    opened = Engine.read(engine) if engine else None
    given = [store.latency_table(name, note) for name in dict.fromkeys(files)]
    made, written = make_report(
        out,
        given or _stored(space, opened),
        [store.accuracy_table(name, note) for name in accuracy_table or ()],
        compared=compared or (),
        engine=opened,
        stock_layers=stock_layers or "",
        threads=threads,
        formats=kinds,
        overwrite=force,
        on_note=note,
    )
    if json:
        print_json(report_document(made, written))
        return
    _say(made, written)


def _say(made: Report, written: tuple[WrittenFile, ...]) -> None:
    for one in written:
        typer.echo(f"{one.path}: {one.chart or f'{len(made.charts)} charts'}, {one.bytes / 1e3:,.0f} kB")
    for text in (*made.warnings, *made.left_out):
        note(text)


def _kinds(text: str) -> tuple[FileKind, ...]:
    """The kinds of files that are asked for; a usage error for one that is not written."""
    from ponas_deploy.charts.written import KINDS

    asked = [name.strip().lower() for name in text.split(",") if name.strip()]
    if unknown := [name for name in asked if name not in KINDS]:
        raise typer.BadParameter(f"'{unknown[0]}' is not written, known are {', '.join(KINDS)}.")
    if not asked:
        raise typer.BadParameter(f"names nothing, known are {', '.join(KINDS)}.", param_hint="--format")
    return tuple(kind for kind in KINDS if kind in asked)


def _stored(space: str | None, engine: Engine | None) -> list[StoredTable]:
    """The tables of the user's store in a space; with an engine all that are of its conditions and space."""
    from ponas_deploy.errors import PonasError
    from ponas_deploy.tables import store

    tables, problems = store.latency_tables()
    for problem in problems:
        note(f"left out: {problem}")
    if engine:
        key, conditions = engine.manifest.space, engine.conditions
        return [one for one in tables if (one.table.space, one.table.conditions) == (key, conditions)]
    found = [one for one in tables if not one.shipped]
    if space:
        found = [one for one in found if one.table.space and one.table.space.name == space]
    if not found:
        where = f" of space {space}" if space else ""
        raise PonasError(
            f"your store has no latency table{where}: name a --latency-table, or a --device that has some"
            " (`ponas devices`)."
        )
    return found
