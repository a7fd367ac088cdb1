"""`ponas pareto`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ponas_deploy.commands.options import AccuracyTableFile, Json, LatencyTables
from ponas_deploy.commands.output import print_json, show

if TYPE_CHECKING:
    from ponas_deploy.search.comparison import NamedFront
    from ponas_deploy.tables import LatencyTable


def pareto(
    latency_tables: LatencyTables, accuracy_table: AccuracyTableFile = None, json: Json = False
) -> None:
    """Compute the exact Pareto front; compare several tables.

    With one latency table: every network that no other beats in both latency and loss. With several:
    for each budget which one loses least, who dominates whom, and one sentence of verdict.

    \b
    Examples:
      ponas pareto --latency-table latency.csv --accuracy-table loss.csv --json
      ponas pareto --latency-table ort.json --latency-table openvino.json --accuracy-table acc.json
    """
    from ponas_deploy.search.comparison import NamedFront, compare_fronts
    from ponas_deploy.search.specialize import front
    from ponas_deploy.tables.named import read_tables

    tables, names, accuracy = read_tables(latency_tables, accuracy_table)
    fronts = [NamedFront(name, front(table, accuracy)) for name, table in zip(names, tables, strict=True)]
    comparison = compare_fronts(fronts) if len(fronts) > 1 else None
    if json:
        document = _document(fronts, tables)
        print_json({**document, "comparison": comparison.document()} if comparison else document)
        return
    from ponas_deploy.commands.reports.pareto import comparison_report, front_report

    if comparison:
        show(comparison_report(comparison, fronts))
    else:
        show(front_report(fronts[0]))


def _document(fronts: list[NamedFront], tables: list[LatencyTable]) -> dict[str, Any]:
    """`points` is the front of one table, or that of all together, each point with its table."""
    from ponas_deploy.search.comparison import joint_front
    from ponas_deploy.search.specialize import points

    documents = [list(points(named.front, table)) for named, table in zip(fronts, tables, strict=True)]
    if len(fronts) == 1:
        return {"points": documents[0]}
    joint = joint_front([named.front for named in fronts])
    return {
        "points": [{"table": fronts[which].name, **documents[which][point]} for which, point in joint],
        "fronts": [
            {"table": named.name, "points": document}
            for named, document in zip(fronts, documents, strict=True)
        ],
    }
