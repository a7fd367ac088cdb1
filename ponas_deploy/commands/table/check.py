"""`ponas table check`."""

from __future__ import annotations

from typing import Annotated

import typer

from ponas_deploy.commands import completing
from ponas_deploy.commands.options import Json, Table


def check(
    file: Table,
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="OTHER",
            autocompletion=completing.tables,
            show_default=False,
            help="A second table: do the two fit together?",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Name everything that is wrong or odd in a table.

    Non-positive, missing and repeated entries, equal blocks with times far apart, another space, cells
    that never settled, and what makes its predictions unreliable: a poor certificate, a machine that changed
    while it was measured, sums that do not hold. With two files also whether they belong together.
    Exit code 1 when there are errors; warnings and notes leave it 0.

    \b
    Examples:
      ponas table check their-latency.csv
      ponas table check latency.json accuracy.json --json
    """
    from ponas_deploy.checks.table_file import check_file, check_pair, findings_document
    from ponas_deploy.commands.output import print_json
    from ponas_deploy.commands.output import show as show_report
    from ponas_deploy.tables.store import find_table

    checked = [check_file(find_table(name)) for name in (file, other) if name is not None]
    tables = [one.table for one in checked if one.table is not None]
    pair = check_pair(tables[0], tables[1]) if len(tables) == 2 else ()
    if json:
        print_json(findings_document(checked, pair))
    else:
        from ponas_deploy.commands.reports.check import check_report

        show_report(check_report(checked, pair))
    findings = [*pair, *(finding for one in checked for finding in one.findings)]
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)
