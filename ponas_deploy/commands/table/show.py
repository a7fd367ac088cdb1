"""`ponas table show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ponas_deploy.commands.options import Json, Table

if TYPE_CHECKING:
    from ponas_deploy.tables.files import AnyTable


def show(file: Table, json: Json = False) -> None:
    """Print a table as a grid with its conditions and its certificate.

    Of an accuracy table also the ties: candidates that lose less than the evaluation noise to the best of
    their layer (`=`, and `ties` with --json: their labels, layer by layer). Of both the findings about what
    they predict (`findings` with --json).

    \b
    Examples:
      ponas table show my-cpu/onnxruntime-fp32-t1-b1-ponas-224px-1000c
      ponas table show their-latency.csv
      ponas table show accuracy/ponas --json
    """
    from ponas_deploy.commands.output import note, print_json
    from ponas_deploy.commands.output import show as show_report
    from ponas_deploy.tables.files import load_table
    from ponas_deploy.tables.store import find_table

    path = find_table(file)
    table = load_table(path, note)
    if json:
        from ponas_deploy.tables.files import table_document

        # One of the types of `commands.documents.table`: `ShownLatencyTable`, `ShownAccuracyTable`.
        print_json({**table_document(table), **_ties(table), **_findings(table)})
        return
    from ponas_deploy.commands.reports.tables import table_report

    show_report(table_report(table, path.name))


def _findings(table: AnyTable) -> dict[str, list[dict[str, str]]]:
    """The findings about the predictions of a table."""
    from dataclasses import asdict

    from ponas_deploy.tables.accuracy_quality import accuracy_findings
    from ponas_deploy.tables.latency import LatencyTable
    from ponas_deploy.tables.quality import quality_findings

    found = quality_findings(table) if isinstance(table, LatencyTable) else accuracy_findings(table)
    return {"findings": [asdict(finding) for finding in found]}


def _ties(table: AnyTable) -> dict[str, list[list[str]]]:
    """The labels that tie with the best of each layer; nothing for a latency table."""
    from ponas_deploy.tables.accuracy import AccuracyTable

    if not isinstance(table, AccuracyTable):
        return {}
    rows = zip(table.loss.candidates, table.ties, strict=True)
    return {"ties": [[label for label, tie in zip(*row, strict=True) if tie] for row in rows]}
