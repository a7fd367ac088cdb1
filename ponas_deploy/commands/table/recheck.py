"""`ponas table recheck`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ponas_deploy.commands import quantities
from ponas_deploy.commands.help_text import DEVICE, EFFORT, TABLES
from ponas_deploy.commands.options import (
    Backends,
    Batch,
    Classes,
    Json,
    Precisions,
    Resolution,
    Seed,
    SpaceName,
    Threads,
    refuse_threads,
)

if TYPE_CHECKING:
    from ponas_deploy.tables.store import StoredTable


def recheck(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="TABLE",
            show_default="your tables of this machine",
            help="A latency table of this machine: JSON, or the name of a stored one.",
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="cpu: this machine. A table is rechecked where it was made.",
            rich_help_panel=DEVICE,
        ),
    ] = "cpu",
    backend: Backends = None,
    precision: Precisions = None,
    threads: Threads = 1,
    batch: Batch = 1,
    space: SpaceName = None,
    resolution: Resolution = 224,
    classes: Classes = 1000,
    accuracy_table: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            show_default="the space's own",
            help="What the front is made with besides.",
            rich_help_panel=TABLES,
        ),
    ] = None,
    time: Annotated[
        float,
        typer.Option(
            metavar="TIME",
            parser=quantities.parse_recheck_time,
            help="Time for each table (15s, 1min).",
            rich_help_panel=EFFORT,
        ),
    ] = 15.0,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure about twenty cells and a few networks again: does a latency table still hold?

    The cells are those that the best networks spend their time in. The report names those that moved (their
    intervals do not overlap), how well networks are predicted now beside what the certificate and the noise
    allow, and for ten budgets whether another network would be chosen. What a table was made with that is
    different here (runtime version, driver, power mode) is named; ponas specialize would profile again,
    while a table that holds can be used all the same with --latency-table. Exit code 1 when one does not
    hold, or when the machine is too noisy to say.

    \b
    Examples:
      ponas table recheck
      ponas table recheck --backend openvino --precision bf16 --json
      ponas table recheck my-cpu/onnxruntime-fp32-t1-b1-ponas-224px-1000c \\
        --time 30
    """
    from ponas_deploy.checks.latency_table import recheck as recheck_table
    from ponas_deploy.checks.latency_table import rechecks_document
    from ponas_deploy.commands.output import note, print_json, show
    from ponas_deploy.profiling import serving_tables
    from ponas_deploy.profiling.places import reached
    from ponas_deploy.profiling.target import Target
    from ponas_deploy.tables import store
    from ponas_deploy.tables.chosen_space import chosen_space
    from searchspace import build_space

    losses = store.accuracy_table(accuracy_table).table if accuracy_table else None
    tables: tuple[StoredTable, ...]
    if file:
        tables = (store.latency_table(file),)
    else:
        refuse_threads(threads, device)
        chosen = chosen_space(space, tables=[losses])
        built = build_space(chosen.name, resolution, classes)
        target = Target(device, tuple(backend or ()), tuple(precision or ()), threads, batch)
        with reached(target, "recheck", note) as place:
            tables = serving_tables.own_tables(target, built, place)
    found = []
    for stored in tables:
        found.append(recheck_table(stored, losses, seconds=time, seed=seed, on_note=note))
    if json:
        print_json(rechecks_document(found))
    else:
        from ponas_deploy.commands.reports.recheck import recheck_report

        show(*map(recheck_report, found))
    if any(one.verdict != "holds" for one in found):
        raise typer.Exit(1)
