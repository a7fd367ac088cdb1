"""A report as files: one HTML page, and each chart as PNG and SVG beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from textwrap import wrap
from typing import Literal, TypeAlias, get_args

from ponas_deploy import __version__
from ponas_deploy.charts import drawing
from ponas_deploy.charts.chart import Cell, Chart
from ponas_deploy.charts.page import WIDE, page
from ponas_deploy.charts.report import Report
from ponas_deploy.charts.sources import Source
from ponas_deploy.files.opening import refuse_file
from ponas_deploy.files.records import write_bytes

FileKind: TypeAlias = Literal["html", "png", "svg"]
_LINE = 140
"""Characters of a line below the title of a picture."""
KINDS: tuple[FileKind, ...] = get_args(FileKind)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that was written; `chart` is the key of the one that it shows, None for the page of all."""

    path: str
    kind: FileKind
    chart: str | None
    bytes: int


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """See `Source`; `facts` by their names."""

    kind: str
    name: str
    facts: dict[str, str]
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChartDocument:
    """See `Chart`: the numbers that it shows, one value a column; null where there is none."""

    key: str
    title: str
    summary: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReportDocument:
    """What `ponas report --json` prints: the files that were written, and the numbers in them."""

    title: str
    created: str
    files: tuple[WrittenFile, ...]
    sources: tuple[SourceDocument, ...]
    charts: tuple[ChartDocument, ...]
    warnings: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Planned:
    path: Path
    kind: FileKind
    chart: str | None
    made: Callable[[], bytes]


def write_report(
    report: Report, out: Path, kinds: Sequence[FileKind], *, overwrite: bool = False
) -> tuple[WrittenFile, ...]:
    """Write a report at `out`; charts as pictures are called after it and their key.

    OverwriteError before anything is written where a file is there and that was not asked for;
    MissingExtraError where what draws is not installed.
    """
    drawing.require()
    planned = list(_planned(report, out, kinds))
    for one in planned:
        refuse_file(one.path, overwrite=overwrite)
    drawn = [(one, one.made()) for one in planned]
    for one, data in drawn:
        write_bytes(one.path, data, overwrite=overwrite)
    return tuple(WrittenFile(str(one.path), one.kind, one.chart, len(data)) for one, data in drawn)


def _planned(report: Report, out: Path, kinds: Sequence[FileKind]) -> Iterator[_Planned]:
    if "html" in kinds:
        yield _Planned(out, "html", None, lambda: page(report, __version__).encode("utf-8", "replace"))
    for kind in ("png", "svg"):
        for chart in report.charts if kind in kinds else ():
            yield _Planned(
                out.with_name(f"{out.stem}-{chart.key}.{kind}"),
                kind,
                chart.key,
                partial(_png if kind == "png" else _svg, chart),
            )


def _png(chart: Chart) -> bytes:
    return drawing.png(titled(chart))


def _svg(chart: Chart) -> bytes:
    return drawing.svg(titled(chart)).encode("utf-8", "replace")


def titled(chart: Chart) -> dict[str, object]:
    """The drawing of a chart that stands alone: with its title and what it says."""
    said = {"text": chart.title, "subtitle": wrap(chart.summary, _LINE)}
    return {**chart.draw(WIDE), "title": said}


def report_document(report: Report, files: Sequence[WrittenFile]) -> ReportDocument:
    """A report as `ponas report --json` prints it."""
    return ReportDocument(
        report.title,
        report.created,
        tuple(files),
        tuple(map(_source, report.sources)),
        tuple(map(_chart, report.charts)),
        report.warnings,
        report.left_out,
    )


def _source(one: Source) -> SourceDocument:
    return SourceDocument(one.kind, one.name, dict(one.facts), one.marks)


def _chart(one: Chart) -> ChartDocument:
    rows = tuple(tuple(map(_finite, row)) for row in one.rows)
    return ChartDocument(one.key, one.title, one.summary, one.columns, rows, one.notes)


def _finite(value: Cell) -> Cell:
    return None if isinstance(value, float) and not isfinite(value) else value
