"""`ponas compare`."""

from __future__ import annotations

from typing import Annotated

import typer

from ponas_deploy.commands.options import AccuracyTableFile, Json, LatencyTables
from ponas_deploy.commands.output import note, print_json, show


def compare(
    archs: Annotated[
        list[str],
        typer.Argument(metavar="ARCH...", show_default=False, help="Names, text forms or files of networks."),
    ],
    latency_tables: LatencyTables,
    accuracy_table: AccuracyTableFile = None,
    json: Json = False,
) -> None:
    """Predict given networks on several latency tables.

    A table of any space will do; where the space is known, parameters and MACs stand beside.

    \b
    Examples:
      ponas compare PONAS-A PONAS-C --latency-table ort.json --latency-table openvino.json
      ponas compare mine.txt PONAS-B --latency-table ort.json --accuracy-table acc.json --json
    """
    from ponas_deploy.search.predictions import predict_networks, predictions_document
    from ponas_deploy.tables.accuracy_quality import top1_warnings
    from ponas_deploy.tables.architectures import read_choices
    from ponas_deploy.tables.files import load_accuracy_table
    from ponas_deploy.tables.named import read_latency_tables
    from ponas_deploy.tables.quality import table_warnings
    from ponas_deploy.tables.spaces import resolutions
    from ponas_deploy.tables.store import find_table
    from ponas_deploy.tables.units import table_doubt

    tables, names = read_latency_tables(latency_tables, note)
    accuracy = load_accuracy_table(find_table(accuracy_table), note) if accuracy_table else None
    networks = predict_networks([(arch, read_choices(arch, tables[0])) for arch in archs], tables, accuracy)
    warnings = table_warnings(dict(zip(names, tables, strict=True)), accuracy)
    losses_pp = [one.predicted_loss_pp for one in networks if one.predicted_loss_pp is not None]
    if accuracy and losses_pp:
        warnings = (*warnings, *top1_warnings(accuracy, losses_pp, resolutions(tables)))
    for name, table in zip(names, tables, strict=True):
        if doubt := table_doubt(table.grid):
            note(f"{name}: {doubt}")
    if json:
        print_json(predictions_document(networks, names, warnings))
        return
    from ponas_deploy.commands.reports.compare import compare_report
    from ponas_deploy.commands.reports.findings import warning_lines

    if warnings:
        show(warning_lines(warnings))
    show(compare_report(networks, names))
