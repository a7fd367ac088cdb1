"""Help in groups: what every command and its options belong to, and how that is laid out as plain text.

An option names its group with typer's own `rich_help_panel`, and so does a command. typer draws the groups
with rich, whose import takes longer than everything else that `ponas --help` does: here they are sections of
the plain text that a command without rich has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import cleandoc
from typing import Any

from typer.core import TyperCommand, TyperGroup

BUDGET = "Budget and limits"
DEVICE = "Device and runtime"
TABLES = "Tables and space"
IMAGES = "Weights and images"
TRAINING = "Training"
EFFORT = "Effort and output"
GROUPS = (BUDGET, DEVICE, TABLES, IMAGES, TRAINING, EFFORT)
"""The groups of options, in the order of every help text. What names none stands in the last one."""

LOOK, MEASURE, CHOOSE = "Look around", "Measure a device", "Choose and build a network"
UNDERSTAND, TRAIN = "Compare and understand", "Train and evaluate"

FEW = 10
"""So many options are read at a glance: a command with no more has one list of them."""
_WIDEST_NAME = 30
"""Columns; what is longer has its explanation below."""


class HelpfulCommand(TyperCommand):
    """A command whose options stand in groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the options."""
        _write_options(self, ctx, formatter)


class HelpfulGroup(TyperGroup):
    """A group of commands whose options and commands stand in groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, the options and the commands."""
        _write_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each command with the first sentence of its help, whole."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                group = getattr(command, "rich_help_panel", None) or "Commands"
                found.setdefault(group, []).append((name, _first_sentence(command.help or "")))
        _write_sections(formatter, found)


def _write_options(command: Any, ctx: Any, formatter: Any) -> None:
    arguments: list[tuple[str, str]] = []
    options: list[tuple[str, tuple[str, str]]] = []
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None and parameter.param_type_name == "argument":
            arguments.append(record)
        elif record is not None:
            options.append((getattr(parameter, "rich_help_panel", None) or EFFORT, record))
    _write_sections(formatter, {"Arguments": arguments})
    names = GROUPS if len(options) > FEW + 1 else ()  # --help is one more
    if not names:
        _write_sections(formatter, {"Options": [record for _, record in options]})
        return
    found = {name: [record for group, record in options if group == name] for name in names}
    _write_sections(formatter, found)


def _write_sections(formatter: Any, sections: Mapping[str, Iterable[tuple[str, str]]]) -> None:
    """Sections with their rows, the second columns of all below each other; empty ones are left out."""
    rows = {title: list(found) for title, found in sections.items()}
    lengths = [len(name) for found in rows.values() for name, _ in found]
    widest = max((length for length in lengths if length <= _WIDEST_NAME), default=0)
    for title, found in rows.items():
        if found:
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), text) for name, text in found], col_max=_WIDEST_NAME)


def _first_sentence(text: str) -> str:
    """The first sentence of a help text, on one line."""
    paragraph = " ".join(cleandoc(text).partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".") + "."
