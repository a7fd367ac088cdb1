"""What a command prints: one JSON document or a report on stdout, progress and prose on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.progress import TextColumn
    from rich.segment import Segment

_PIPED_WIDTH = 120
"""Columns of a report that goes to a file or a pipe: wide enough for a whole table."""


_said: set[str] = set()
"""The notes of this command."""


def print_json(document: Any) -> None:
    """The one document of a command with --json: a typed value (`commands/schema.py` names the types)."""
    from ponas_deploy.files.documents import encoded
    from ponas_deploy.files.records import to_json

    typer.echo(to_json(encoded(document)))


def show(*renderables: RenderableType) -> None:
    """Print a report on stdout, as wide as the terminal.

    Where notes go to the same place, its lines that were a note before are left out. What is wider than the
    terminal is not cut: the terminal folds it, and copies it as one line.
    """
    console, said = report_console(), _said if _in_one_place() else set[str]()
    for renderable in _not_said(renderables, said):
        console.print(_Neutralised(renderable), crop=False)


def _not_said(parts: Iterable[RenderableType], said: Set[str]) -> Iterator[RenderableType]:
    from rich.console import Group
    from rich.text import Text

    for part in parts:
        if isinstance(part, Group):
            yield Group(*_not_said(part.renderables, said))
        elif not (isinstance(part, Text) and part.plain in said):
            yield part


def _in_one_place() -> bool:
    """Whether stdout and stderr are the same terminal or file."""
    try:
        return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except (OSError, ValueError):  # streams that are no files
        return False


@dataclass(frozen=True, slots=True)
class _Neutralised:
    """A report whose text cannot command the terminal, wherever its names came from."""

    report: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import Segment

        from ponas_deploy.errors import printable

        for segment in console.render(self.report, options):
            lines = map(printable, segment.text.split("\n"))
            yield segment if segment.control else Segment("\n".join(lines), segment.style)


def report_console(*, stderr: bool = False) -> Console:
    """The console of reports, or with `stderr` that of progress bars and warnings."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    fixed = None if stream.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
    # No markup: a device may be called "[/x]".
    return Console(stderr=stderr, width=fixed, highlight=False, markup=False, emoji=False)


def plain_column(template: str, **options: Any) -> TextColumn:
    """A column of a progress bar that shows its text as it is: a file may be called "[/x]"."""
    from rich.progress import TextColumn

    return TextColumn(template, markup=False, **options)


def begin() -> None:
    """A command begins: nothing was said yet."""
    _said.clear()


def note(message: str) -> None:
    """A line for people on stderr: it never mixes with what another program reads.

    Each is said once in a command, but for what is done now (it ends in "..."): that may be done again.
    """
    if message not in _said or message.endswith("..."):
        _said.add(message)
        progress_line(message)


def progress_line(message: str) -> None:
    """A line on stderr that says how far something is, whether or not it was said before."""
    from ponas_deploy.errors import printable

    # Not typer.echo, which goes around the stream in place of stderr while a table is drawn: what is printed
    # has to go above that.
    sys.stderr.write("\n".join(map(printable, message.split("\n"))) + "\n")
    sys.stderr.flush()
