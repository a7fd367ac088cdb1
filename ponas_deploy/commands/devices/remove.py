"""`ponas devices remove`."""

from __future__ import annotations

from ponas_deploy.commands.devices.report import BoardName
from ponas_deploy.commands.output import note


def remove(name: BoardName) -> None:
    """Take a board out of the device book; its latency tables stay in the store.

    \b
    Example:
      ponas devices remove jetson
    """
    from ponas_deploy.boards.book import remove_board
    from ponas_deploy.boards.facts import record_path

    entry = remove_board(name)
    record_path(entry).unlink(missing_ok=True)
    note(f"{entry.name} is out of the device book.")
