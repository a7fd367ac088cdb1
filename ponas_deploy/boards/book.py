"""The device book: boards by name, how each is reached, in a TOML file that a person may edit.

    [jetson]
    host = "nvidia@192.168.1.7"        # what `ssh` takes: user@address, or a Host of ~/.ssh/config
    port = 22                          # optional, as are all below
    key = "~/.ssh/jetson"
    python = "/home/nvidia/venv/bin/python"
    backends = ["tensorrt"]
    aliases = ["orin"]

    [box]
    command = ["docker", "exec", "-i", "box"]    # in place of host: what a command on the board is put behind

    [here]
    command = []                       # a process of this machine

Comments and order survive `ponas devices add` and `remove`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ponas_deploy.errors import FileFormatError, PonasError, UnknownNameError
from ponas_deploy.files.documents import compact, converted
from ponas_deploy.files.home import home
from ponas_deploy.files.opening import MIB, read_text
from ponas_deploy.files.records import write_bytes
from ponas_deploy.machines.gpu import this_gpu
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.machines.names import slug

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

RESERVED = ("cpu", "gpu")
"""They always mean this machine."""
_PLAIN_HOST = re.compile(r"[A-Za-z0-9_.@:%\[\]-]+")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./~+-]+")
_HEAD = "# Boards of ponas-deploy, see `ponas devices --help`. Edit it as you like.\n\n"


@dataclass(frozen=True, slots=True)
class Board:
    """One entry: `host` for ssh, or `command`, the words that a command on the board is put behind.

    `python` is the interpreter there that sees the runtimes, `backends` those to use (none: all it has).
    PonasError for an address or a path that a shell or ssh could take for something else.
    """

    host: str | None = None
    command: tuple[str, ...] | None = None
    port: int | None = None
    key: str | None = None
    python: str = "python3"
    backends: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.host is None) == (self.command is None):
            raise PonasError("host: either host (for ssh) or command is needed, and not both.")
        if self.host is not None and (self.host.startswith("-") or not _PLAIN_HOST.fullmatch(self.host)):
            raise PonasError(f"host: {self.host!r} is no address: name user@address or a Host of ssh's.")
        if self.host is None and (self.port is not None or self.key is not None):
            raise PonasError("port: port and key belong to a host.")
        if self.port is not None and not 1 <= self.port <= 65535:
            raise PonasError(f"port: {self.port} is none: 1 to 65535.")
        if not _PLAIN_PATH.fullmatch(self.python) or self.python.startswith("-"):
            raise PonasError(f"python: {self.python!r} is no plain path (letters, digits, . _ - + ~ /).")


@dataclass(frozen=True, slots=True)
class Entry:
    """A board under its name."""

    name: str
    board: Board

    @property
    def names(self) -> tuple[str, ...]:
        """The name and the aliases."""
        return (self.name, *self.board.aliases)


def book_path() -> Path:
    """The device book of this user."""
    return home() / "devices.toml"


def read_book() -> tuple[Entry, ...]:
    """All boards in the order of the file; none where there is no file.

    FileFormatError names the place of what is no TOML, no board, or a name that stands for two.
    """
    path = book_path()
    if not path.exists():
        return ()
    entries = tuple(_entry(name, value, path) for name, value in _parsed(path).unwrap().items())
    taken: set[str] = set()
    for entry in entries:
        for name in entry.names:
            if fault := _name_fault(name, taken):
                raise FileFormatError(path, entry.name, fault)
            taken.add(name)
    return entries


def _entry(name: str, value: Any, path: Path) -> Entry:
    known = [field.name for field in fields(Board)]
    if unknown := [key for key in (value if isinstance(value, dict) else ()) if key not in known]:
        raise FileFormatError(path, name, f"unknown key '{unknown[0]}'; known are {', '.join(known)}.")
    return Entry(name, converted(value, Board, path, name))


def find_board(name: str) -> Entry | None:
    """The board of a name or an alias."""
    asked = slug(name)
    return next((one for one in read_book() if asked in one.names), None)


def required_board(name: str) -> Entry:
    """The same; UnknownNameError lists those there are, and says how one is added."""
    if found := find_board(name):
        return found
    raise UnknownNameError(
        "board",
        name,
        [entry.name for entry in read_book()],
        advice=f"`ponas devices add {slug(name) or 'NAME'} --host user@address` adds one.",
    )


def add_board(name: str, board: Board, *, overwrite: bool = False) -> Entry:
    """Write a board into the book; PonasError for a name that is taken, unless it is to be replaced."""
    import tomlkit

    refuse_name(name, board, overwrite=overwrite)
    book = _parsed(book_path()) if book_path().exists() else tomlkit.parse(_HEAD)
    table = tomlkit.table()
    for key, value in compact(board).items():
        table.add(key, value)
    book[name] = table
    _write(book)
    return Entry(name, board)


def refuse_name(name: str, board: Board, *, overwrite: bool = False) -> None:
    """PonasError where a board of this name and these aliases cannot be written into the book."""
    if name in (here := {this_machine().name, this_gpu()}) or here.intersection(board.aliases):
        raise PonasError(f"'{name}' is what this machine is called: choose another name.")
    entries, taken = read_book(), set[str]()
    others = [entry for entry in entries if entry.name != name]
    if len(others) < len(entries) and not overwrite:
        raise PonasError(f"there is a board '{name}' already: --force replaces it.")
    for word in (*(word for entry in others for word in entry.names), name, *board.aliases):
        if fault := _name_fault(word, taken):
            raise PonasError(fault)
        taken.add(word)


def remove_board(name: str) -> Entry:
    """Take a board out of the book; its tables stay where they are."""
    entry = required_board(name)
    book = _parsed(book_path())
    book.remove(entry.name)
    _write(book)
    return entry


def _name_fault(name: str, taken: set[str]) -> str:
    if name in RESERVED:
        return f"'{name}' always means this machine: choose another name."
    if not name or name != slug(name):
        close = f" ('{slug(name)}' is one)" if slug(name) else ""
        return f"{name!r} is no name of a board: lower case letters, digits and dashes{close}."
    return f"'{name}' names two boards: choose another." if name in taken else ""


def _parsed(path: Path) -> TOMLDocument:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(read_text(path, MIB))
    except (TOMLKitError, ValueError, RecursionError) as error:
        raise FileFormatError(path, "", f"is not valid TOML ({error}).") from error


def _write(book: TOMLDocument) -> None:
    import tomlkit

    write_bytes(book_path(), tomlkit.dumps(book).encode(), overwrite=True)
