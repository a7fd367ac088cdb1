"""`ponas table`: what is in a table, whether it is sound, what differs between two.

And tables from other projects' and from whole networks, and networks from tables.
"""

from __future__ import annotations

import typer

from ponas_deploy.commands.help_text import HelpfulCommand, HelpfulGroup
from ponas_deploy.commands.table.certify import certify
from ponas_deploy.commands.table.check import check
from ponas_deploy.commands.table.diff import diff
from ponas_deploy.commands.table.fit import fit
from ponas_deploy.commands.table.import_table import import_table
from ponas_deploy.commands.table.int8 import int8
from ponas_deploy.commands.table.predict import predict
from ponas_deploy.commands.table.recheck import recheck
from ponas_deploy.commands.table.show import show

table_app = typer.Typer(
    cls=HelpfulGroup,
    help="Look into, import, fit and use tables.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
table_app.command(cls=HelpfulCommand)(show)
table_app.command(cls=HelpfulCommand)(check)
table_app.command("import", cls=HelpfulCommand)(import_table)
table_app.command(cls=HelpfulCommand)(certify)
table_app.command(cls=HelpfulCommand)(int8)
table_app.command(cls=HelpfulCommand)(diff)
table_app.command(cls=HelpfulCommand)(recheck)
table_app.command(cls=HelpfulCommand)(fit)
table_app.command(cls=HelpfulCommand)(predict)
