"""`ponas table show`."""

from __future__ import annotations

from ponas_deploy.commands.options import Json, Table


def show(file: Table, json: Json = False) -> None:
    """Print a table as a grid with its conditions and proof.

    \b
    Examples:
      ponas table show profiles/latency/my-cpu/onnxruntime-fp32-t1-b1-ponas-224.json
      ponas table show their-latency.csv
      ponas table show accuracy/ponas --json
    """
    from ponas_deploy.commands.output import print_json
    from ponas_deploy.commands.output import show as show_report
    from ponas_deploy.store import find_table
    from ponas_deploy.tables import load_table

    path = find_table(file)
    table = load_table(path)
    if json:
        from ponas_deploy.tables.files import table_document

        print_json(table_document(table))
        return
    from ponas_deploy.reports.tables import table_report

    show_report(table_report(table, path.name))
