"""`ponas devices add`."""

from __future__ import annotations

from typing import Annotated

import typer

from ponas_deploy.commands import completing
from ponas_deploy.commands.devices.report import show_board
from ponas_deploy.commands.help_text import DEVICE, EFFORT
from ponas_deploy.commands.options import Force, Json


def add(
    name: Annotated[
        str, typer.Argument(metavar="NAME", show_default=False, help="Lower case letters, digits, dashes.")
    ],
    host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            show_default=False,
            help="What ssh takes: user@address, or a Host of your configuration.",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            show_default=False,
            help="In place of --host: what a command there is put behind, 'docker exec -i NAME';"
            " '' is a process of this machine.",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", show_default="ssh's", help="For --host.", rich_help_panel=DEVICE),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", show_default="ssh's", help="The private key, for --host.", rich_help_panel=DEVICE
        ),
    ] = None,
    python: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="The Python there that has the runtimes (3.8 or newer).",
            rich_help_panel=DEVICE,
        ),
    ] = "python3",
    backend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completing.backends,
            show_default="all it has",
            help="A runtime to use there; may repeat.",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Another name for it; may repeat.",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Write it down without asking it.", rich_help_panel=EFFORT)
    ] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Put a board into the device book, after asking it what it is and has.

    It is reached by your own ssh, with its configuration, keys, agents, jump hosts and prompts; host keys are
    checked as you told ssh to, and passwords are asked by ssh itself. A small program of the standard library
    is kept there in ~/.cache/ponas; nothing is installed. A board that does not answer is not written down,
    unless --offline asks for that.

    \b
    Examples:
      ponas devices add jetson --host nvidia@192.168.1.7
      ponas devices add pi --host pi --python /home/pi/venv/bin/python \\
        --backend onnxruntime
      ponas devices add box --command 'docker exec -i box'
    """
    import shlex

    from ponas_deploy.backends import registry
    from ponas_deploy.boards.book import Board, Entry, add_board, refuse_name
    from ponas_deploy.boards.facts import ask_board
    from ponas_deploy.boards.link import connected

    if (host is None) == (command is None):
        raise typer.BadParameter("name --host ADDRESS, or --command WORDS.")
    for one in backend or ():
        registry.real_entry(one)  # the board has the runtime, not this machine
    board = Board(
        host=host,
        command=None if command is None else tuple(shlex.split(command)),
        port=port,
        key=key,
        python=python,
        backends=tuple(backend or ()),
        aliases=tuple(alias or ()),
    )
    refuse_name(name, board, overwrite=force)
    entry, record = Entry(name, board), None
    if not offline:
        with connected(entry) as link:
            record = ask_board(entry, link)
    add_board(name, board, overwrite=force)
    show_board(entry, record, json=json)
