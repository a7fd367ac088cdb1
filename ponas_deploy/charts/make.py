"""A report by one call, as `ponas report` makes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from ponas_deploy.charts import drawing
from ponas_deploy.charts.report import Asked, Report, report_of
from ponas_deploy.charts.stock import read_compared
from ponas_deploy.charts.timed import timed_network
from ponas_deploy.charts.written import FileKind, WrittenFile, write_report
from ponas_deploy.engines.engine import Engine
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.opening import refuse_file
from ponas_deploy.tables import store
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.named import as_stored
from ponas_deploy.tables.store import StoredAccuracy, StoredTable

_NO_FILE = Path("the") / "accuracy-table.json"


def report(
    out: Path | str,
    latency_tables: Sequence[LatencyTable | StoredTable | Path | str],
    accuracy_tables: Sequence[AccuracyTable | StoredAccuracy | Path | str] = (),
    *,
    compared: Sequence[Path | str] = (),
    engine: Engine | Path | str | None = None,
    stock_layers: str = "",
    threads: int = 1,
    formats: Sequence[FileKind] = ("html",),
    overwrite: bool = False,
    on_note: OnNote = no_note,
) -> tuple[Report, tuple[WrittenFile, ...]]:
    """Write a page of charts of tables, networks and an engine, and each chart as a picture where asked for.

    Args:
        out: the page, an HTML file; pictures are named after it.
        latency_tables: tables, their files or their names; each has its front and its map.
        accuracy_tables: the same of losses; none for those of the latency tables' spaces.
        compared: files of measured networks for the chart of fronts: what `ponas compare --device cpu --json`
            printed, or CSV with `network,latency_ms,top1_pct`.
        engine: an engine or its folder: where its time goes, and its place on the chart.
        stock_layers: an ONNX file or a stock network whose layers are timed here; empty for none.
        threads: how many of them time those layers.
        formats: any of "html", "png", "svg".
        overwrite: whether files that exist are written over.
        on_note: called with lines for people.

    Returns: the report, with the numbers behind its charts and sentences for what is left out, and the files.

    Raises: MissingExtraError where the extra `report` is not installed, OverwriteError before anything is
    written, FileFormatError for a file that is broken, TableMismatchError for tables that do not fit,
    PonasError where there is nothing to draw.
    """
    page = Path(out)
    drawing.require()
    if "html" in formats:
        refuse_file(page, overwrite=overwrite)
    asked = Asked(
        [as_stored(one) for one in latency_tables],
        [_accuracy(one, on_note) for one in accuracy_tables],
        [one for path in compared for one in read_compared(Path(path))],
        engine if isinstance(engine, Engine) or engine is None else Engine.read(engine),
        timed_network(stock_layers, threads, on_note) if stock_layers else None,
    )
    made = report_of(asked, datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"))
    return made, write_report(made, page, formats, overwrite=overwrite)


def _accuracy(one: AccuracyTable | StoredAccuracy | Path | str, on_note: OnNote) -> StoredAccuracy:
    if isinstance(one, StoredAccuracy):
        return one
    if isinstance(one, AccuracyTable):
        return StoredAccuracy(_NO_FILE, one)
    return store.accuracy_table(str(one), on_note)
