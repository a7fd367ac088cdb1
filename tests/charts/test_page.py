"""The page: self-contained, small, escaped; drawings whose marks are the rows of the tables behind them."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_reports import WHEN, shipped_report, small

from ponas_deploy.charts import drawing
from ponas_deploy.charts.chart import SERIES
from ponas_deploy.charts.page import NARROW, WIDE, page
from ponas_deploy.charts.report import Report, report_of
from ponas_deploy.charts.written import write_report
from ponas_deploy.errors import MissingExtraError, OverwriteError

pytest.importorskip("vl_convert", reason="vl-convert, which draws the charts, is not installed")

MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def shipped() -> Report:
    return shipped_report()


@pytest.fixture(scope="module")
def html(shipped: Report) -> str:
    return page(shipped, "0")


class Elements(HTMLParser):
    """The elements of a page, with what they are in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_three_tables_of_500_points_are_below_2_mb(shipped: Report, html: str) -> None:
    assert len(shipped.charts[0].rows) > 1500
    assert len(html.encode()) < MOST_BYTES


def test_nothing_is_loaded_from_anywhere(html: str) -> None:
    asking = {"src", "srcset", "data", "action", "poster", "background"}
    for tag, values in Elements(html).found:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base", "image", "use")
        assert not asking & set(values), tag
        assert (values.get("href") or "#").startswith("#")
    assert "@import" not in html
    assert set(re.findall(r"url\(([^)]*)\)", html)) <= {
        f"#{name}" for name in re.findall(r'\bid="([^"]+)"', html)
    }
    assert "default-src 'none'" in html


def test_no_two_elements_have_one_name(html: str) -> None:
    names = [values["id"] for _, values in Elements(html).found if "id" in values]
    assert len(names) == len(set(names))
    for _, values in Elements(html).found:
        for attribute in ("aria-labelledby", "aria-describedby"):
            assert set((values.get(attribute) or "").split()) <= set(names)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_each_row_has_its_mark_at_every_width(shipped: Report, width: int) -> None:
    for chart in shipped.charts:
        drawn = drawing.page_svg(chart.draw(width), "p")
        found = {int(row) for row in re.findall(r'data-row="(\d+)"', drawn)}
        assert found == set(range(len(chart.rows))), chart.key


def test_the_colours_are_those_of_the_page(shipped: Report) -> None:
    drawn = drawing.page_svg(shipped.charts[0].draw(WIDE), "p")
    assert "var(--series-2)" in drawn
    assert not any(colour in drawn.lower() for colour in SERIES)
    assert "aria-label" not in drawn


HOSTILE = '"><script>alert(1)</script>'


def test_what_comes_from_files_is_escaped() -> None:
    names = (HOSTILE, "b\x00\u202e'\"]+datum")
    report = report_of(small([[1.0, 2.0], [3.0, 5.0]], [[2.0, 0.0], [1.0, 0.0]], names, names), WHEN)
    text = page(replace(report, title=HOSTILE, warnings=(HOSTILE,)), HOSTILE)
    assert "<script>alert" not in text
    assert "\x00" not in text
    assert [tag for tag, _ in Elements(text).found].count("script") == 1
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 5


@pytest.mark.parametrize(
    ("latencies", "losses"),
    [
        ([[1.0]], [[0.0]]),  # one network
        ([[0.0]], [[0.0]]),
        ([[0.0, 0.0]], [[0.0, 0.0]]),
        ([[0.0, 1.0], [0.0, 2.0]], [[3.0, 0.0], [1.0, 0.0]]),  # absent layers
        ([[1e-9, 1.0]], [[1e3, 0.0]]),
    ],
)
def test_odd_tables_are_drawn(latencies: list[list[float]], losses: list[list[float]]) -> None:
    layers = tuple(f"layer {index}" for index in range(len(latencies)))
    labels = ("x", "y")[: len(latencies[0])]
    report = report_of(small(latencies, losses, layers, labels), WHEN)
    for chart in report.charts:
        drawn = drawing.page_svg(chart.draw(NARROW), "p")
        assert len(set(re.findall(r'data-row="(\d+)"', drawn))) == len(chart.rows), chart.key
        assert "NaN" not in drawn


def test_pictures_lie_beside_the_page(tmp_path: Path) -> None:
    report = report_of(small([[1.0, 2.0]], [[2.0, 0.0]], ("a",)), WHEN)
    out = tmp_path / "mine.html"
    written = write_report(report, out, ("html", "png", "svg"))
    assert [Path(one.path).name for one in written] == [
        "mine.html",
        *(f"mine-{key}.{kind}" for kind in ("png", "svg") for key in ("front-1", "loss-1", "latency-1")),
    ]
    assert all(Path(one.path).stat().st_size == one.bytes > 0 for one in written)
    assert (tmp_path / "mine-front-1.png").read_bytes().startswith(b"\x89PNG")
    drawn = (tmp_path / "mine-front-1.svg").read_text()
    assert drawn.startswith("<svg")
    assert "Fronts of the given table" in drawn
    assert "To the left is faster, lower is better" in drawn


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    report = report_of(small([[1.0, 2.0]], [[2.0, 0.0]], ("a",)), WHEN)
    there = tmp_path / "r-loss-1.svg"
    there.write_text("mine")
    with pytest.raises(OverwriteError):
        write_report(report, tmp_path / "r.html", ("html", "svg"))
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["r-loss-1.svg"]
    write_report(report, tmp_path / "r.html", ("html", "svg"), overwrite=True)
    assert there.read_text() != "mine"


def test_without_the_extra_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ponas-deploy\[report\]'"):
        drawing.require()


def test_in_python_tables_are_values_or_names(tmp_path: Path) -> None:
    import ponas_deploy as ponas

    asked = small([[1.0, 2.0]], [[2.0, 0.0]], ("a",))
    tables, losses = [asked.latencies[0].table], [asked.accuracies[0].table]
    stock = tmp_path / "stock.csv"
    stock.write_text("network,latency_ms,top1_pct\nnet,1,70\n")
    out = tmp_path / "page.html"
    report, files = ponas.report(out, tables, losses, compared=[stock])
    assert [one.path for one in files] == [str(out)]
    assert [row[2] for row in report.charts[0].rows] == [1.0, 2.0]
    assert any("predicts no top-1" in text for text in report.left_out)
    with pytest.raises(OverwriteError):
        ponas.report(out, tables, losses)
