"""`ponas devices` and `ponas devices list`."""

from __future__ import annotations

import typer

from ponas_deploy.commands.options import Json
from ponas_deploy.commands.output import print_json, show


def devices(context: typer.Context, json: Json = False) -> None:
    """List this machine with its GPU and runtimes, the boards of your device book, and all latency tables.

    `cpu` and `gpu` always mean this machine. A board is another one that is reached over ssh, or through
    another command such as docker exec; `add` puts one into the book (a TOML file that you may edit), and
    then its name is a --device of profile, specialize, export, measure, networks, compare and doctor.

    A table made elsewhere (`ponas profile --name jetson --out tables/`, there) becomes known when its
    file is copied into the folder `latency` of the store, whose place is shown.

    \b
    Examples:
      ponas devices
      ponas devices add jetson --host nvidia@192.168.1.7 \\
        --python /home/nvidia/venv/bin/python
      ponas devices test jetson
    """
    if context.invoked_subcommand is None:
        list_devices(json)


def list_devices(json: Json = False) -> None:
    """List what `ponas devices` lists.

    \b
    Example:
      ponas devices list --json
    """
    from ponas_deploy.boards.book import read_book
    from ponas_deploy.boards.facts import kept_record
    from ponas_deploy.profiling.devices import inventory

    found = inventory()
    boards = [(entry, kept_record(entry)) for entry in read_book()]
    if json:
        from ponas_deploy.commands.documents.devices import devices_document

        print_json(devices_document(found, boards))
        return
    from ponas_deploy.commands.reports.devices import devices_report

    show(*devices_report(found, boards))
