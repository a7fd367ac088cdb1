"""`ponas devices show`."""

from __future__ import annotations

from ponas_deploy.commands.devices.report import BoardName, show_board, show_without_board
from ponas_deploy.commands.options import Json


def show(name: BoardName, json: Json = False) -> None:
    """Show a board of the device book: what ssh makes of its address, and what it said when last asked.

    Of a device that has latency tables and stands not in the book, these are shown.

    \b
    Example:
      ponas devices show jetson
    """
    from ponas_deploy.boards.book import find_board, required_board
    from ponas_deploy.boards.facts import kept_record
    from ponas_deploy.profiling.devices import known_devices
    from ponas_deploy.profiling.target import Target

    if find_board(name) is None and (tables := known_devices().get(Target(name).device_name)):
        show_without_board(Target(name), tables, json=json)
        return
    entry = required_board(name)
    show_board(entry, kept_record(entry), json=json)
