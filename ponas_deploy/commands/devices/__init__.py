"""`ponas devices`: this machine, devices that have tables, and the device book of boards.

Without a subcommand it lists all of them.
"""

from __future__ import annotations

import typer

from ponas_deploy.commands.devices.add import add
from ponas_deploy.commands.devices.asking import ask
from ponas_deploy.commands.devices.listing import devices, list_devices
from ponas_deploy.commands.devices.remove import remove
from ponas_deploy.commands.devices.show import show

devices_app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
devices_app.callback()(devices)
devices_app.command()(add)
devices_app.command("list")(list_devices)
devices_app.command()(show)
devices_app.command()(remove)
devices_app.command("test")(ask)
