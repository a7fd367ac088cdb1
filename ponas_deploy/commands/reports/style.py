"""What all reports share: table frames, colours that read on dark and light terminals, numbers."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

FRAME = box.SIMPLE_HEAD
GOOD, WARN, BAD = "green", "dark_orange3", "red"
BEST = "bold green"
FAINT = "dim"
PLAIN = 1e12
"""Numbers from here on are written with an exponent."""


def table(title: str, caption: str = "") -> Table:
    """An empty table with its title above and its caption below, both to the left."""
    return Table(
        title=title or None,
        caption=caption or None,
        title_style="bold",
        caption_style="default",
        title_justify="left",
        caption_justify="left",
        box=FRAME,
        pad_edge=False,
        collapse_padding=True,
    )


@dataclass(frozen=True, slots=True)
class ByWidth:
    """One of two renderings: the `wide` one where there are so many `columns`."""

    columns: int
    narrow: RenderableType
    wide: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Choose by the width that is left for it."""
        yield self.wide if options.max_width >= self.columns else self.narrow


@dataclass(frozen=True, slots=True)
class AtCommas:
    """A list apart by commas, which is folded behind these alone."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As many as fit in each line."""
        lines = wrap(self.text.replace(",", ", "), options.max_width, break_on_hyphens=False)
        yield Text("\n".join(line.replace(", ", ",") for line in lines))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """The longest of the list with its comma, and all of it."""
        longest = max(len(one) for one in self.text.split(",")) + 1
        return Measurement(longest, len(self.text)).with_maximum(options.max_width)


def titled(title: str, rows: RenderableType, caption: str = "") -> RenderableType:
    """Rows below a title that may be wider than they are; a table's own title would be folded."""
    below = [Text(caption, style=FAINT)] if caption else []
    return Group(Text(title, style="bold"), rows, *below)


def digits(value: float, significant: int = 4) -> str:
    """A number with so many significant digits and no exponent: 0.01235, 12.35, 1235.

    Only a number that nobody reads without one has an exponent.
    """
    if value == 0:
        return "0"
    if not abs(value) < PLAIN:
        return f"{value:.{significant}g}"
    text = f"{value:.{significant - 1}e}"
    decimals = max(0, significant - 1 - int(text.partition("e")[2]))
    return f"{value:.{decimals}f}"


def millions(count: int) -> str:
    """A count for people: 328.9 M."""
    return f"{count / 1e6:.1f} M"


def counted(count: int, noun: str) -> str:
    """A count with its noun: 1 cell, 3 cells."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
