"""What `ponas devices --json` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, UnsetType

from ponas_deploy.boards.book import Board, Entry
from ponas_deploy.boards.facts import BoardRecord
from ponas_deploy.profiling.devices import Inventory, Runtime


@dataclass(frozen=True, slots=True)
class RuntimeDocument:
    """The precisions of a runtime, and why it cannot be used: empty where it can."""

    precisions: tuple[str, ...]
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThisMachine:
    """See `Machine.environment`; what cannot be read is absent."""

    name: str
    processor: str
    processor_model: str | UnsetType = UNSET
    instruction_sets: str | UnsetType = UNSET
    architecture: str
    cores: str
    quota_cores: str | UnsetType = UNSET
    memory_mib: str
    os: str
    python: str
    power_mode: str | UnsetType = UNSET
    runtimes: Mapping[str, RuntimeDocument]


@dataclass(frozen=True, slots=True)
class GpuDocument:
    """The GPU of this machine and its runtimes."""

    name: str
    runtimes: Mapping[str, RuntimeDocument]


@dataclass(frozen=True, slots=True)
class DeviceTable:
    """A latency table of a device."""

    table: str
    shipped: bool
    made_on: str


@dataclass(frozen=True, slots=True)
class BoardDocument:
    """A board of the device book, what ssh makes of its address, what it said (None: not asked yet).

    `board` is None for a device that has tables and stands not in the book.
    """

    name: str
    board: Board | None
    ssh: Mapping[str, str]
    record: BoardRecord | None
    latency_tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DevicesDocument:
    """What `ponas devices --json` prints; `unreadable` says why files of the store are no tables."""

    this_machine: ThisMachine
    gpu: GpuDocument | None
    boards: Mapping[str, Board]
    devices: Mapping[str, tuple[DeviceTable, ...]]
    store: str
    unreadable: tuple[str, ...]


def board_document(
    entry: Entry, ssh: Mapping[str, str], record: BoardRecord | None, tables: tuple[str, ...]
) -> BoardDocument:
    """What `ponas devices add`, `show` and `test` print."""
    return BoardDocument(entry.name, entry.board, ssh, record, tables)


def devices_document(found: Inventory, boards: Sequence[tuple[Entry, BoardRecord | None]]) -> DevicesDocument:
    """This machine, its GPU, boards, and devices with tables."""
    environment: dict[str, Any] = dict(found.here.environment())
    tables = {
        device: tuple(DeviceTable(one.name, one.shipped, one.made_on) for one in tables)
        for device, tables in found.tables.items()
    }
    return DevicesDocument(
        ThisMachine(name=found.here.name, **environment, runtimes=_runtimes(found.runtimes)),
        GpuDocument(found.gpu, _runtimes(found.gpu_runtimes)) if found.gpu else None,
        {entry.name: entry.board for entry, _ in boards},
        tables,
        str(found.home),
        found.unreadable,
    )


def _runtimes(some: Iterable[Runtime]) -> dict[str, RuntimeDocument]:
    return {one.backend: RuntimeDocument(one.precisions, one.problem) for one in some}
