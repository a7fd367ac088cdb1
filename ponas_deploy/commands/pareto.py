"""`ponas pareto`."""

from __future__ import annotations

from ponas_deploy.commands.options import AccuracyTableFile, Json, LatencyTables
from ponas_deploy.commands.output import note, print_json, show


def pareto(
    latency_tables: LatencyTables, accuracy_table: AccuracyTableFile = None, json: Json = False
) -> None:
    """Compute the Pareto front; compare several tables.

    With one latency table: every network that no other beats in both latency and loss. With several:
    for each budget which one loses least, who dominates whom, and one sentence of verdict. Exact; a front of
    very many networks is cut, and a warning says how far the networks left out may be from those listed.

    \b
    Examples:
      ponas pareto --latency-table latency.csv --accuracy-table loss.csv --json
      ponas pareto --latency-table ort.json --latency-table openvino.json --accuracy-table acc.json
    """
    from ponas_deploy.search.comparison import NamedFront, compare_fronts, pareto_document, thinned_warnings
    from ponas_deploy.search.pareto import front
    from ponas_deploy.tables.accuracy_quality import top1_warnings
    from ponas_deploy.tables.named import read_tables
    from ponas_deploy.tables.quality import table_warnings
    from ponas_deploy.tables.spaces import resolutions
    from ponas_deploy.tables.units import table_doubt

    tables, names, accuracy = read_tables(latency_tables, accuracy_table, note)
    warnings = table_warnings(dict(zip(names, tables, strict=True)), accuracy)
    fronts = [NamedFront(name, front(table, accuracy)) for name, table in zip(names, tables, strict=True)]
    for name, table in zip(names, tables, strict=True):
        if doubt := table_doubt(table.grid):
            note(f"{name}: {doubt}")
    losses_pp = [float(end) for one in fronts for end in one.front.loss[[0, -1]]]
    warnings = (
        *warnings,
        *thinned_warnings(fronts),
        *top1_warnings(accuracy, losses_pp, resolutions(tables)),
    )
    if json:
        print_json(pareto_document(fronts, [table.grid for table in tables], warnings, accuracy))
        return
    from ponas_deploy.commands.reports.findings import warning_lines
    from ponas_deploy.commands.reports.pareto import comparison_report, front_report

    if warnings:
        show(warning_lines(warnings))
    if len(fronts) > 1:
        show(comparison_report(compare_fronts(fronts), fronts, accuracy))
    else:
        show(front_report(fronts[0], accuracy))
