"""`ponas table fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ponas_deploy.commands import completing
from ponas_deploy.commands.help_text import EFFORT, IMAGES, TABLES
from ponas_deploy.commands.options import Classes, Force, Json, Resolution, Seed, bounded


def fit(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="CSV of networks: a column a layer, then latency_ms or top1_pct.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="TABLE",
            show_default=False,
            help="The table to write, JSON.",
            rich_help_panel=EFFORT,
        ),
    ],
    space: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completing.spaces,
            show_default="by the labels",
            help="The search space of the networks.",
            rich_help_panel=TABLES,
        ),
    ] = None,
    resolution: Resolution = 224,
    classes: Classes = 1000,
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default="FILE",
            help="The images of top1_pct (ImageNet).",
            rich_help_panel=IMAGES,
        ),
    ] = "",
    images: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            callback=bounded("Count"),
            help="How many images those are.",
            rich_help_panel=IMAGES,
        ),
    ] = 0,
    weights: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            show_default=False,
            help="How the networks came by their weights.",
            rich_help_panel=IMAGES,
        ),
    ] = "",
    detail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TEXT",
            show_default=False,
            help="More of its origin (source, licence).",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Fit a latency or an accuracy table to whole networks, anyone's.

    FILE is CSV. Its header names the layers, and `latency_ms` or `top1_pct` last; each row holds the
    label of the candidate that the network has in each layer, and its value:

    \b
      stem,stage1,stage2,latency_ms
      k3e3,k5e6se,k7e6,12.41

    20 to 20,000 rows, of any space; twice as many as candidates in all layers are a good number. The
    same network twice or more tells noise from layers that interact. Keep the rows in the order of
    measuring: drift shows in it.

    Held-out rows say how good the table is (Kendall's tau, mean error). `identified`: the rows tell all
    candidates of each layer apart; what layers have in common is never known from whole networks and is
    in the fixed cost. `additive`: sums over layers explain the rows. `drift`: residuals follow the order
    of the rows. --resolution and --classes say what the networks were, where the space is known here; --space
    which one, where several have the same labels (ofa-mbv3 at both widths; else the first is taken).

    An accuracy table predicts top-1 in percent: of --data, with --weights, and both are said with every
    prediction.

    \b
    Examples:
      ponas table fit measured.csv --out latency.json
      ponas table fit evaluated.csv --out accuracy.json --resolution 96 \\
        --classes 100 --json
      ponas specialize --latency-table latency.json \\
        --accuracy-table accuracy.json --latency 20ms
    """
    from datetime import datetime, timezone

    from ponas_deploy.commands.blas import one_thread

    one_thread()
    from ponas_deploy.commands.output import print_json, show
    from ponas_deploy.commands.waiting import waiting
    from ponas_deploy.files.opening import refuse_file
    from ponas_deploy.fitting import Evaluated, fit_networks, table_of
    from ponas_deploy.tables.accuracy_file import write_accuracy_table
    from ponas_deploy.tables.latency import LatencyTable
    from ponas_deploy.tables.latency_file import write_latency_table
    from ponas_deploy.tables.networks_csv import read_networks

    if out.suffix.lower() == ".csv":
        raise typer.BadParameter("a fitted table is JSON: name it .json.", param_hint="--out")
    refuse_file(out, overwrite=force)
    networks = read_networks(file)
    evaluated = Evaluated(data, images, weights, _pairs(detail or []))
    if networks.kind == "latency" and evaluated != Evaluated():
        raise typer.BadParameter(
            f"--data, --images, --weights, --detail: {file} holds latencies, not top1_pct."
        )
    with waiting() as advance:
        fitted = fit_networks(networks, space=space, seed=seed, on_step=advance)
    created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    table = table_of(fitted, created=created, resolution=resolution, classes=classes, evaluated=evaluated)
    if isinstance(table, LatencyTable):
        write_latency_table(table, out, overwrite=force)
    else:
        write_accuracy_table(table, out, overwrite=force)
    if json:
        from ponas_deploy.commands.documents.table import fitted_document

        print_json(fitted_document(fitted, out))
        return
    from ponas_deploy.commands.reports.fit import fit_report

    show(fit_report(fitted, str(out)))


def _pairs(given: list[str]) -> tuple[tuple[str, str], ...]:
    """The names and texts of --detail; a usage error for one without a name."""
    for pair in given:
        if not pair.partition("=")[0] or "=" not in pair:
            raise typer.BadParameter(f"'{pair}' has no name: write NAME=TEXT.", param_hint="--detail")
    return tuple((name, text) for name, _, text in (pair.partition("=") for pair in given))
