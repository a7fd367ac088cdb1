"""`ponas devices test`."""

from __future__ import annotations

from ponas_deploy.commands.devices.report import BoardName, show_board
from ponas_deploy.commands.options import Json


def ask(name: BoardName, json: Json = False) -> None:
    """Ask a board what it is and has, and how long a question takes.

    \b
    Example:
      ponas devices test jetson
    """
    from ponas_deploy.boards.book import required_board
    from ponas_deploy.boards.facts import ask_board
    from ponas_deploy.boards.link import connected

    entry = required_board(name)
    with connected(entry) as link:
        record = ask_board(entry, link)
    show_board(entry, record, json=json)
