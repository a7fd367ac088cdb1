"""`ponas train`: accuracy tables and weights from images.

Without a subcommand it runs the whole recipe. To add a step of its own, write `<name>.py` with one
typed function and name it below.
"""

from __future__ import annotations

import typer

from ponas_deploy.commands.help_text import HelpfulCommand, HelpfulGroup
from ponas_deploy.commands.train.run import train
from ponas_deploy.commands.train.specialized import specialized
from ponas_deploy.commands.train.status import status
from ponas_deploy.commands.train.table import table
from ponas_deploy.commands.train.transfer import transfer

train_app = typer.Typer(cls=HelpfulGroup, rich_markup_mode=None, invoke_without_command=True)
train_app.callback()(train)
train_app.command(cls=HelpfulCommand)(table)
train_app.command(cls=HelpfulCommand)(specialized)
train_app.command(cls=HelpfulCommand)(transfer)
train_app.command(cls=HelpfulCommand)(status)
