"""`ponas table diff`."""

from __future__ import annotations

from typing import Annotated

import typer

from ponas_deploy.commands import completing
from ponas_deploy.commands.options import Json


def diff(
    before: Annotated[
        str,
        typer.Argument(
            metavar="BEFORE", autocompletion=completing.tables, show_default=False, help="The older table."
        ),
    ],
    after: Annotated[
        str,
        typer.Argument(
            metavar="AFTER", autocompletion=completing.tables, show_default=False, help="The newer table."
        ),
    ],
    json: Json = False,
) -> None:
    """Say what moved between two tables of one kind.

    Each cell's change, in percent of a latency or in points of accuracy; a change counts where the
    intervals do not overlap, or from 3 % (0.5 points) on where there are none. What all latencies moved
    by together (another machine, or another day) is separated from what single cells did. Also which
    conditions differ: device, runtime, versions, clocks. ponas table recheck compares a table with the
    machine as it is now.

    \b
    Examples:
      ponas table diff january.json february.json
      ponas table diff fp32.json bf16.json --json
    """
    from ponas_deploy.commands.output import note, print_json
    from ponas_deploy.commands.output import show as show_report
    from ponas_deploy.tables.diff import diff_document, diff_tables
    from ponas_deploy.tables.files import load_table
    from ponas_deploy.tables.store import find_table

    paths = find_table(before), find_table(after)
    found = diff_tables(load_table(paths[0], note), load_table(paths[1], note))
    if json:
        print_json(diff_document(found))
        return
    from ponas_deploy.commands.reports.diff import diff_report

    show_report(diff_report(found, paths[0].name, paths[1].name))
