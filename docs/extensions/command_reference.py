"""The page of commands, made of the commands themselves: what `--help` prints of each.

It stands where the page has the comment `<!-- commands -->`. Sources: the event `source-read` of Sphinx
(https://www.sphinx-doc.org/en/master/extdev/event_callbacks.html) and the command tree of Click.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from ponas_deploy.commands.app import app

MARK = "<!-- commands -->"
WIDTH = 100
"""Columns of a help text."""


def setup(sphinx: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    sphinx.connect("source-read", lambda _, __, source: _filled_in(source))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _filled_in(source: list[str]) -> None:
    if MARK in source[0]:
        source[0] = source[0].replace(MARK, reference())


def reference() -> str:
    """All commands as Markdown: a heading each, and below it the text of its help."""
    return "\n".join(f"## {name}\n\n```text\n{help_text}\n```\n" for name, help_text in helps())


def helps() -> Iterator[tuple[str, str]]:
    """(words of a command, text of its help) in the order of `ponas --help`, groups before their commands."""
    yield from _helps(typer.main.get_command(app), "ponas", None)


def _helps(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    word = name.rpartition(" ")[2]
    with command.make_context(
        word, [], parent, resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH
    ) as context:
        yield name, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        for below, one in getattr(command, "commands", {}).items():
            if not one.hidden:
                yield from _helps(one, f"{name} {below}", context)
