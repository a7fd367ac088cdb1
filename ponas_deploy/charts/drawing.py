"""From a specification to SVG and PNG by vl-convert, which is Vega in a library: no browser, no network.

The SVG of a page is made ready for it: colours become those of the page (light, dark, paper), the mark of a
row carries the row's number, and what two drawings would both be called is told apart.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from ponas_deploy.charts.chart import BAND, FAINT, GRID, INK, PAPER, SERIES, Spec
from ponas_deploy.errors import MissingExtraError, printable

EXTRA = "report"
_SVG = "http://www.w3.org/2000/svg"
_COLOURS = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    BAND: "var(--band)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)},
}
_PAINTED = ("fill", "stroke", "stop-color")
_MARK = re.compile(r"#(\d+)")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_PNG_SCALE = 2.0
_DIGITS = re.compile(r"-?\d+\.\d{3,}")


def require() -> Any:
    """The module that draws; MissingExtraError where the extra is not installed."""
    try:
        import vl_convert
    except ImportError as error:
        raise MissingExtraError("vl-convert, which draws the charts,", EXTRA) from error
    return vl_convert


def svg(spec: Spec) -> str:
    """A drawing as SVG, on white."""
    return str(require().vegalite_to_svg(_printable(spec), allowed_base_urls=[]))


def png(spec: Spec) -> bytes:
    """A drawing as PNG, on white, two pixels for one."""
    return bytes(require().vegalite_to_png(_printable(spec), scale=_PNG_SCALE, allowed_base_urls=[]))


def _printable(part: Any) -> Any:
    """A specification without what no XML can hold: control characters, halves of characters."""
    if isinstance(part, dict):
        return {key: _printable(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_printable(value) for value in part]
    return printable(part) if isinstance(part, str) else part


def page_svg(spec: Spec, prefix: str) -> str:
    """A drawing as SVG to stand in a page: `prefix` makes its names those of one drawing.

    Marks have `data-row`, the index of the row that they show; nothing in it is for screen readers, which
    are given the page's words.
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg(spec))
    for parent in root.iter():
        for child in list(parent):
            if _is_background(child):
                parent.remove(child)
    for element in root.iter():
        _prepare(element, prefix)
    root.attrib.pop("version", None)
    root.attrib |= {"aria-hidden": "true", "focusable": "false"}
    return ElementTree.tostring(root, encoding="unicode")


def _is_background(element: ElementTree.Element) -> bool:
    """The sheet behind a drawing, and the frames that Vega draws around nothing."""
    sheet = element.tag == f"{{{_SVG}}}rect" and element.get("fill") in (PAPER, "white")
    return sheet or element.get("class") in ("background", "foreground")


def _prepare(element: ElementTree.Element, prefix: str) -> None:
    found = _MARK.fullmatch(element.get("aria-label", ""))
    for name in list(element.attrib):
        if name.startswith("aria-") or name in ("role", "pointer-events", "font-family"):
            del element.attrib[name]
    if found:
        element.set("data-row", found[1])
    if own := element.get("id"):
        element.set("id", f"{prefix}-{own}")
    for name, value in list(element.attrib.items()):
        if name in _PAINTED and value.lower() in _COLOURS:
            element.set(name, _COLOURS[value.lower()])
        elif "url(#" in value:
            element.set(name, _REFERENCE.sub(rf"url(#{prefix}-\1)", value))
        elif name in ("d", "transform"):
            element.set(name, _DIGITS.sub(lambda number: f"{float(number[0]):.2f}", value))
