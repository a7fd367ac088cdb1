"""The page in a real browser: nothing on the console, every chart drawn, marks by pointer and keyboard."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sample_reports import shipped_report

from browser import DOWN, END, ESCAPE, HOME, LEFT, RIGHT, TAB, Browser, browser, why_not
from ponas_deploy.charts.page import page
from ponas_deploy.charts.report import Report

pytest.importorskip("vl_convert", reason="vl-convert, which draws the charts, is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(why_not()), reason=why_not())]

SIZES = [(1280, 900), (390, 844)]


@pytest.fixture(scope="module")
def report() -> Report:
    return shipped_report()


@pytest.fixture(scope="module")
def shown(report: Report) -> Iterator[tuple[Browser, Path]]:
    """A browser, and the page that it opens; in a short path, for Chromium has sockets among its files."""
    with tempfile.TemporaryDirectory(prefix="ponas") as folder:
        file = Path(folder) / "report.html"
        file.write_text(page(report, "0"), encoding="utf-8")
        with browser(Path(folder)) as session:
            yield session, file


@pytest.fixture(params=SIZES, ids=str)
def opened(shown: tuple[Browser, Path], request: pytest.FixtureRequest) -> Browser:
    session, file = shown
    session.resize(*request.param)
    session.media("light")
    session.open(file)
    return session


def test_the_console_is_silent_and_nothing_is_asked_of_a_network(opened: Browser) -> None:
    assert opened.console() == []
    names = opened.run("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert names == []


def test_every_chart_is_drawn_once(opened: Browser, report: Report) -> None:
    script = """
        return [...document.querySelectorAll("figure")].map((figure) => [
          figure.id,
          [...figure.querySelectorAll("svg")].filter((one) => one.getClientRects().length)
            .map((one) => [one.getBoundingClientRect().width, one.getBoundingClientRect().height]),
          new Set([...figure.querySelectorAll("[data-row]")].filter((one) => one.getClientRects().length)
            .map((one) => one.dataset.row)).size,
        ])
    """
    found = opened.run(script)
    assert [one[0] for one in found] == [chart.key for chart in report.charts]
    for (_, sizes, marks), chart in zip(found, report.charts, strict=True):
        assert len(sizes) == 1
        assert min(sizes[0]) > 50
        assert marks == len(chart.rows)


def test_the_page_is_no_wider_than_the_screen(opened: Browser) -> None:
    assert opened.run("return document.documentElement.scrollWidth <= window.innerWidth")


def test_no_text_of_a_drawing_is_cut_off(opened: Browser) -> None:
    script = """
        const cut = [];
        for (const svg of document.querySelectorAll(".plot svg")) {
          const box = svg.getBoundingClientRect();
          if (!box.width) continue;
          for (const text of svg.querySelectorAll("text")) {
            const own = text.getBoundingClientRect();
            if (own.left < box.left - 2 || own.right > box.right + 2 || own.bottom > box.bottom + 2)
              cut.push(text.textContent);
          }
        }
        return cut
    """
    assert opened.run(script) == []


def test_charts_have_names_and_descriptions_for_screen_readers(opened: Browser, report: Report) -> None:
    nodes = opened.command("Accessibility.getFullAXTree")["nodes"]
    charts = [node for node in nodes if value(node, "role") == "application"]
    assert [value(node, "name") for node in charts] == [chart.title for chart in report.charts]
    for node, chart in zip(charts, report.charts, strict=True):
        assert chart.summary[:60] in value(node, "description")
    names = [value(node, "name") for node in nodes if value(node, "role") == "heading"]
    assert report.title in names
    assert "What this is made of" in names
    assert not [node for node in nodes if value(node, "role") == "graphics-symbol"]


def value(node: dict[str, Any], key: str) -> str:
    return str(node.get(key, {}).get("value", ""))


def spoken(session: Browser) -> str:
    return str(session.run("return document.getElementById('spoken').textContent"))


def focus_on(session: Browser, key: str) -> None:
    """Tab from one thing to the next until the chart has the focus."""
    script = "const at = document.activeElement.closest('figure .plot'); return at && at.closest('figure').id"
    for _ in range(80):
        session.press(TAB)
        if session.run(script) == key:
            return
    raise AssertionError(f"no way to {key} by the keyboard")


def test_the_keyboard_walks_along_the_marks(opened: Browser, report: Report) -> None:
    focus_on(opened, "front-1")
    rows = report.charts[0].rows
    opened.press(RIGHT)
    assert str(rows[0][7]) in spoken(opened)
    assert "latency (ms)" in spoken(opened)
    opened.press(RIGHT, DOWN, LEFT)
    assert str(rows[1][7]) in spoken(opened)
    opened.press(END)
    assert "my engine" in spoken(opened)
    opened.press(HOME)
    assert str(rows[0][7]) in spoken(opened)
    shown = "const tip = document.getElementById('tip'); return [tip.hidden, tip.textContent]"
    assert opened.run(shown)[0] is False
    box = opened.run("return document.getElementById('tip').getBoundingClientRect().toJSON()")
    assert box["left"] >= 0
    assert box["right"] <= opened.run("return window.innerWidth")
    opened.press(ESCAPE)
    assert opened.run(shown)[0] is True


def test_pointing_at_a_mark_shows_its_network(opened: Browser, report: Report) -> None:
    script = """
        const mark = [...document.querySelectorAll("#latency-1 [data-row='7']")]
          .find((one) => one.getClientRects().length);
        mark.scrollIntoView({block: "center"});
        const box = mark.getBoundingClientRect();
        return [box.left + box.width / 2, box.top + box.height / 2]
    """
    x, y = opened.run(script)
    opened.command("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    found = opened.run("const tip = document.getElementById('tip'); return tip.hidden ? '' : tip.textContent")
    layer, label = next(chart for chart in report.charts if chart.key == "latency-1").rows[7][:2]
    assert f"layer: {layer}" in found
    assert f"candidate: {label}" in found
    assert "latency (µs)" in found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(shown: tuple[Browser, Path], scheme: str) -> None:
    """WCAG 2.2: 4.5 to 1 for text, 3 to 1 for marks."""
    session, file = shown
    session.resize(*SIZES[0])
    session.media(scheme)
    session.open(file)
    names = ["paper", "ink", "faint", "link", "card", *(f"series-{index}" for index in range(3))]
    script = """
        const style = getComputedStyle(document.documentElement);
        return arguments[0].map((name) => style.getPropertyValue("--" + name).trim())
    """
    colour = dict(zip(names, session.run(script, names), strict=True))
    assert (luminance(colour["paper"]) > 0.5) == (scheme == "light")
    for name in ("ink", "faint", "link"):
        assert min(contrast(colour[name], colour[back]) for back in ("paper", "card")) >= 4.5, name
    for index in range(3):
        assert contrast(colour[f"series-{index}"], colour["paper"]) >= 3, index


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_on_paper_there_are_the_charts_and_no_tooltips(shown: tuple[Browser, Path]) -> None:
    session, file = shown
    session.media("dark", "print")
    session.open(file)
    script = """
        return [getComputedStyle(document.body).backgroundColor,
          document.querySelector("nav").getClientRects().length,
          document.querySelector("#front-1 svg").getClientRects().length]
    """
    assert session.run(script) == ["rgb(255, 255, 255)", 0, 1]
