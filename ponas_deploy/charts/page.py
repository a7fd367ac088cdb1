"""A report as one HTML file that needs nothing else: drawings, numbers, words, their style and script.

Whatever comes from files is escaped. The page allows itself no request, and no script but the one it holds.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files

from ponas_deploy.charts.chart import Cell, Chart, number
from ponas_deploy.charts.drawing import page_svg
from ponas_deploy.charts.report import Report
from ponas_deploy.charts.sources import Source
from ponas_deploy.errors import printable

WIDE, NARROW = 940, 356
"""Pixels that a drawing has on a screen and on a telephone."""


def page(report: Report, version: str) -> str:
    """The HTML of a report."""
    return "\n".join(_page(report, version))


def _page(report: Report, version: str) -> Iterator[str]:
    style, script = _part("page.css"), _part("page.js")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    yield "<!DOCTYPE html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{_text(report.title)}</title>"
    yield f"<style>{style}</style></head><body>"
    yield '<a class="skip" href="#charts">To the charts</a>'
    yield f"<header><h1>{_text(report.title)}</h1>"
    yield f'<p class="faint">Made by ponas-deploy {_text(version)}, {_text(report.created)}.</p></header>'
    yield from _contents(report.charts)
    yield "<main>"
    yield from _sources(report.sources)
    yield from _said("warnings", "What speaks against these numbers", report.warnings)
    yield '<section id="charts" aria-label="Charts">'
    for chart in report.charts:
        yield from _chart(chart)
    yield "</section>"
    yield from _said("left-out", "What is not here, and why", report.left_out)
    yield "</main>"
    yield '<div id="tip" aria-hidden="true" hidden></div>'
    yield '<div id="spoken" class="skip" role="status" aria-live="polite"></div>'
    yield f"<script>{script}</script></body></html>\n"


def _part(name: str) -> str:
    return (files("ponas_deploy.charts") / name).read_text(encoding="utf-8")


def _text(value: str) -> str:
    """Text for a page, wherever it came from."""
    return escape(printable(value))


def _contents(charts: Sequence[Chart]) -> Iterator[str]:
    yield '<nav aria-label="Charts of this report"><ol>'
    for chart in charts:
        yield f'<li><a href="#{chart.key}">{_text(chart.title)}</a></li>'
    yield "</ol></nav>"


def _sources(sources: Sequence[Source]) -> Iterator[str]:
    yield '<section aria-labelledby="sources"><h2 id="sources">What this is made of</h2><div class="cards">'
    for source in sources:
        kind = f'<span class="kind">{_text(source.kind)}</span>'
        yield f'<section class="card"><h3>{_text(source.name)} {kind}</h3>'
        yield from (f'<strong class="flag">{_text(mark)}</strong>' for mark in source.marks)
        yield "<dl>"
        yield from (f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in source.facts)
        yield "</dl></section>"
    yield "</div></section>"


def _said(key: str, title: str, texts: Sequence[str]) -> Iterator[str]:
    if texts:
        yield f'<section aria-labelledby="{key}"><h2 id="{key}">{title}</h2><ul class="said">'
        yield from (f"<li>{_text(text)}</li>" for text in texts)
        yield "</ul></section>"


def _chart(chart: Chart) -> Iterator[str]:
    key = chart.key
    yield f'<figure id="{key}" aria-labelledby="{key}-title">'
    yield f'<figcaption><h2 id="{key}-title">{_text(chart.title)}</h2>'
    yield f'<p id="{key}-summary">{_text(chart.summary)}</p></figcaption>'
    yield (
        f'<div class="plot" tabindex="0" role="application" aria-roledescription="chart"'
        f' aria-labelledby="{key}-title" aria-describedby="{key}-summary {key}-hint">'
    )
    for name, width in (("wide", WIDE), ("narrow", NARROW)):
        yield f'<div class="{name}">{page_svg(chart.draw(width), f"{key}-{name}")}</div>'
    yield "</div>"
    yield (
        f'<p class="faint hint" id="{key}-hint">Point at a mark, or focus the chart and use the arrow keys,'
        " for its numbers.</p>"
    )
    yield from (f'<p class="note">{_text(note)}</p>' for note in chart.notes)
    yield from _numbers(chart)
    yield "</figure>"


def _numbers(chart: Chart) -> Iterator[str]:
    yield f"<details><summary>The {len(chart.rows):,} rows of numbers behind it</summary>"
    yield f'<div class="scroll" tabindex="0" role="region" aria-label="Numbers: {_text(chart.title)}">'
    yield f"<table><caption>{_text(chart.title)}</caption><thead><tr>"
    yield "".join(f'<th scope="col">{_text(name)}</th>' for name in chart.columns)
    yield "</tr></thead><tbody>"
    for row in chart.rows:
        yield f"<tr>{''.join(map(_cell, row))}</tr>"
    yield "</tbody></table></div></details>"


def _cell(value: Cell) -> str:
    figure = ' class="n"' if isinstance(value, (int, float)) else ""
    return f"<td{figure}>{_text(number(value))}</td>"
