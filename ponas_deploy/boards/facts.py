"""What a board is and has, by its own answer, and the copy that is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ponas_deploy.boards.book import Entry
from ponas_deploy.files.documents import Format, read_document, write_document
from ponas_deploy.files.home import home
from ponas_deploy.machines.devfreq import GpuClock

if TYPE_CHECKING:
    from ponas_deploy.boards.link import Link


@dataclass(frozen=True, slots=True)
class BoardRuntime:
    """A Python package there: what it offers (providers, devices); `problem` says why it cannot be used."""

    name: str
    version: str
    offers: tuple[str, ...]
    problem: str


@dataclass(frozen=True, slots=True)
class BoardFacts:
    """What the runner could read (`boards/runner.py`); what it could not is empty, 0 or None.

    `free_mib` is the room in its own `folder`; `boot_id` changes with every start of the board.
    """

    processor: str
    board: str
    architecture: str
    cores: int
    memory_mib: int
    os: str
    jetpack: str
    power_mode: str
    gpu_clocks: GpuClock | None
    hottest_c: float | None
    python: str
    interpreter: str
    boot_id: str
    folder: str
    free_mib: int
    runtimes: tuple[BoardRuntime, ...]
    programs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BoardRecord:
    """The facts of a board when it was last asked, and the round trip then, in milliseconds."""

    asked_at: str
    round_trip_ms: float
    facts: BoardFacts


RECORD = Format("ponas.board", 1, BoardRecord)


def ask_board(entry: Entry, link: Link) -> BoardRecord:
    """Ask a board what it is and has, and keep the answer."""
    facts = link.ask("describe", BoardFacts)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    record = BoardRecord(now, link.round_trip_ms(), facts)
    write_document(record_path(entry), RECORD, record, overwrite=True)
    return record


def kept_record(entry: Entry) -> BoardRecord | None:
    """What a board said when it was last asked, None where it never was."""
    path = record_path(entry)
    return read_document(path, RECORD) if path.is_file() else None


def record_path(entry: Entry) -> Path:
    """Where a board's record lies."""
    return home() / "boards" / f"{entry.name}.json"
