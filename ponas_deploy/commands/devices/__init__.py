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
from ponas_deploy.commands.help_text import HelpfulCommand, HelpfulGroup

devices_app = typer.Typer(cls=HelpfulGroup, rich_markup_mode=None, invoke_without_command=True)
devices_app.callback()(devices)
devices_app.command(cls=HelpfulCommand)(add)
devices_app.command("list", cls=HelpfulCommand)(list_devices)
devices_app.command(cls=HelpfulCommand)(show)
devices_app.command(cls=HelpfulCommand)(remove)
devices_app.command("test", cls=HelpfulCommand)(ask)
