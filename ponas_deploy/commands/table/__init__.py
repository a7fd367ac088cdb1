"""`ponas table`: what is in a table, whether it can be trusted, what differs between two."""

from __future__ import annotations

import typer

from ponas_deploy.commands.table.check import check
from ponas_deploy.commands.table.diff import diff
from ponas_deploy.commands.table.show import show

table_app = typer.Typer(
    help="Look into latency and accuracy tables.", no_args_is_help=True, rich_markup_mode=None
)
table_app.command()(show)
table_app.command()(check)
table_app.command()(diff)
# fit
# predict
