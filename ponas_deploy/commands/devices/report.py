"""What the commands about one board share: how it is named, and how it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ponas_deploy.commands import completing
from ponas_deploy.commands.output import note, print_json, show

if TYPE_CHECKING:
    from ponas_deploy.boards.book import Entry
    from ponas_deploy.boards.facts import BoardFacts, BoardRecord
    from ponas_deploy.profiling.target import Target
    from ponas_deploy.tables.store import StoredTable

BoardName: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        autocompletion=completing.boards,
        show_default=False,
        help="A board of the device book, or an alias.",
    ),
]


def show_board(entry: Entry, record: BoardRecord | None, *, json: bool) -> None:
    """Print an entry, what ssh makes of it, what the board said, and its latency tables."""
    from ponas_deploy.backends import registry
    from ponas_deploy.boards.address import resolved
    from ponas_deploy.profiling.devices import known_devices

    ssh = resolved(entry.board)
    if record and not _measures(record.facts):
        note(
            f"{entry.name}: nothing there can be measured: on the board, pip install"
            f" {registry.reference_backend()} numpy (or name its interpreter with --python)."
        )
    tables = tuple(stored.name for stored in known_devices().get(entry.name, ()))
    if json:
        from ponas_deploy.commands.documents.devices import board_document

        print_json(board_document(entry, ssh, record, tables))
        return
    from ponas_deploy.commands.reports.board import board_report

    show(*board_report(entry, ssh, record, tables))


def show_without_board(device: Target, tables: tuple[StoredTable, ...], *, json: bool) -> None:
    """Print the latency tables of a device that is no board of the book."""
    if json:
        from ponas_deploy.commands.documents.devices import BoardDocument

        names = tuple(stored.name for stored in tables)
        print_json(BoardDocument(device.device_name, None, {}, None, names))
        return
    from ponas_deploy.commands.reports.devices import tables_report

    show(tables_report(f"Latency tables of {device.device_name}", {device.device_name: tables}))
    if not device.local:
        show(device.unreachable)


def _measures(facts: BoardFacts) -> bool:
    """Whether a board has NumPy and a runtime, or the program of one."""
    from ponas_deploy.backends import registry

    usable = {one.name for one in facts.runtimes if not one.problem}
    runtimes = {entry.name for entry in registry.ENTRIES if entry.on_boards}
    return "numpy" in usable and bool(usable & runtimes or facts.programs)
