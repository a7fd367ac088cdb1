"""Command lines of `ponas` in the pages and in the help texts, and whether the command line takes them.

A command line is found

- in a block between ``` marks, or one indented by four blanks: where a line, or what stands behind `$ ` in a
  block of commands and what they print, is a command of the shell that starts `ponas`;
- in a sentence: code that begins with `ponas `. It may leave out arguments, as a sentence does that is about
  one option, and `show|check` stands for each of these commands.

It is parsed by the real commands, with the types and callbacks of their options, and not run; spaces and
runtimes must be known. A word in capitals stands for a value of the reader: one of `STANDS_FOR`, else a text
as it is. `...` stands for more of the same.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer

from ponas_deploy.backends.registry import entry_of
from ponas_deploy.commands import app
from searchspace.errors import PonasError
from searchspace.spaces.registry import fingerprint_of

STANDS_FOR = {"N": "1", "TIME": "20ms"}

_FENCE = re.compile(r"^(?P<marks>```+)(?P<language>\S*)")
_IN_A_SENTENCE = re.compile(r"`(?:\w+=\S+ )*(ponas\s[^`]+)`")
_STARTERS = ("torchrun",)
_USAGE_ERROR: Any = typer.BadParameter.__base__  # Click's, or typer's own where it has no Click


@dataclass(frozen=True)
class CommandLine:
    """A command line of a page or a help text: where it stands, and its words behind `ponas`.

    `whole` is false of one in a sentence, `in_session` true of one behind `$ `, which `test_pages.py` runs.
    """

    where: str
    words: tuple[str, ...]
    whole: bool = True
    in_session: bool = False


def of_page(text: str, name: str) -> Iterator[CommandLine]:
    """All command lines of a page, those of its sentences last."""
    sentences = ""
    lines = iter(enumerate(text.splitlines(), start=1))
    fence, session = None, False
    for number, line in lines:
        sentences += "\n"
        if mark := _FENCE.match(line):
            closes = fence is not None and line.rstrip() == fence["marks"]
            fence, session = (None, False) if closes else (fence or mark, session)
            continue
        if fence is None and not line.startswith("    "):
            sentences += line
            continue
        if fence is not None and fence["language"] not in ("", "text"):
            continue
        session = session or (fence is not None and line.startswith("$ "))
        if session and not line.startswith("$ "):
            continue
        command = line.removeprefix("$ ")
        while command.endswith("\\"):
            sentences += "\n"
            command = command[:-1] + next(lines)[1]
        for words in of_shell(command):
            yield CommandLine(f"{name}:{number}", words, in_session=session)
    yield from of_sentences(sentences[1:], name)


def of_sentences(text: str, name: str) -> Iterator[CommandLine]:
    """Those of code in sentences, with the lines they begin on."""
    for match in _IN_A_SENTENCE.finditer(text):
        number = text.count("\n", 0, match.start()) + 1
        alternatives = [word.split("|") for word in shlex.split(match[1])[1:]]
        for words in itertools.product(*alternatives):
            yield CommandLine(f"{name}:{number}", words, whole=False)


def of_shell(line: str) -> Iterator[tuple[str, ...]]:
    """The words behind `ponas` of each command of a line of the shell that starts it."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:  # a quotation mark of a text that is no command
        return
    for separates, group in itertools.groupby(words, lambda word: bool(re.fullmatch("[();&|]+", word))):
        command = list(itertools.dropwhile(lambda word: re.match(r"\w+=", word), group))
        if separates or not command:
            continue
        at = command.index("ponas") if command[0] in _STARTERS and "ponas" in command else 0
        if Path(command[at]).name == "ponas":
            yield tuple(itertools.takewhile(lambda word: word not in (">", ">>", "<"), command[at + 1 :]))


def of_help() -> Iterator[CommandLine]:
    """Those of the help texts of all commands."""
    for name, command in _commands(_ponas(), "ponas"):
        text = command.help or ""
        examples = text[text.index("Example") :] if "Example" in text else ""
        for line in re.sub(r"\\\n", " ", examples).splitlines():
            for words in of_shell(line):
                yield CommandLine(f"{name} --help", words)
        for help_text in (text, *(getattr(one, "help", None) or "" for one in command.params)):
            yield from of_sentences(help_text, f"{name} --help")


@cache
def _ponas() -> Any:
    return typer.main.get_command(app)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for below, one in getattr(command, "commands", {}).items():
        yield from _commands(one, f"{name} {below}")


def fault_of(line: CommandLine) -> str | None:
    """What the command line refuses in it; None where it takes it."""
    words = [STANDS_FOR.get(word, word) for word in line.words if word not in ("...", "--help")]
    command, name = _ponas(), "ponas"
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in command.commands:
            return f"no such command: {name}"
        command = command.commands[name]
    if not line.whole and words and any(words[-1] in option.opts for option in command.params):
        words.pop()
    if not words and (not line.whole or "--help" in line.words):
        return None
    if not words and not getattr(command, "invoke_without_command", True):
        return f"which command of {name}?"
    try:
        _refuse_unknown(command.make_context(name, words).params)
    except typer.BadParameter as error:
        left_out = type(error).__name__ == "MissingParameter"
        return None if left_out and not line.whole else error.format_message()
    except _USAGE_ERROR as error:
        return error.format_message()
    except PonasError as error:
        return str(error)
    return None


def _refuse_unknown(values: dict[str, Any]) -> None:
    """UnknownNameError for a space or a runtime without a row, which a command looks up when it runs."""
    for option, look_up in (("space", fingerprint_of), ("backend", entry_of)):
        given = values.get(option) or ()
        for name in (given,) if isinstance(given, str) else given:
            if not name.isupper():
                look_up(name)
