"""`ponas devices show`."""

from __future__ import annotations

from ponas_deploy.commands.devices.report import BoardName, show_board
from ponas_deploy.commands.options import Json


def show(name: BoardName, json: Json = False) -> None:
    """Show a board of the device book: what ssh makes of its address, and what it said when last asked.

    \b
    Example:
      ponas devices show jetson
    """
    from ponas_deploy.boards.book import required_board
    from ponas_deploy.boards.facts import kept_record

    entry = required_board(name)
    show_board(entry, kept_record(entry), json=json)
