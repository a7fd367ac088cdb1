"""`ponas table predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ponas_deploy.commands.options import Json


def predict(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            show_default=False,
            help="A table: JSON, CSV, or the name of a stored or shipped one.",
        ),
    ],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="CSV of networks: a column a layer; latency_ms or top1_pct may follow.",
        ),
    ],
    json: Json = False,
) -> None:
    """Predict networks, one a row, from a table: in milliseconds, or in percent of top-1.

    FILE is the CSV of `ponas table fit`, columns in any order; the last column may be absent. Where it is
    there, the predictions are compared with it. A row with a candidate that the table does not know has no
    prediction (null with --json, where `unknown` names it); where no row has one the exit code is 1.

    \b
    Examples:
      ponas table predict latency.json candidates.csv
      ponas table predict accuracy.json evaluated.csv --json
    """
    from ponas_deploy.commands.output import note, print_json, show
    from ponas_deploy.fitting import predict_rows, predictions_document
    from ponas_deploy.tables.files import load_table
    from ponas_deploy.tables.networks_csv import read_networks
    from ponas_deploy.tables.store import find_table

    path = find_table(table)
    predicted = predict_rows(load_table(path, note), read_networks(file, values="optional"))
    for warning in filter(None, (predicted.estimated, predicted.warning, *predicted.beyond)):
        note(warning)
    if json:
        print_json(predictions_document(predicted))
        return
    from ponas_deploy.commands.reports.fit import predictions_report

    show(predictions_report(predicted, path.name))
