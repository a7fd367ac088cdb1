"""`ponas table certify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponas_deploy.commands.help_text import DEVICE, EFFORT, IMAGES
from ponas_deploy.commands.options import Force, Json, Seed, Table

if TYPE_CHECKING:
    from ponas_deploy.tables.accuracy import AccuracyCertificate, AccuracyTable
    from train.runs import Run


def certify(
    file: Table,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            help="A finished run of `ponas train`.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="A supernet's weights instead of --run.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR",
            show_default="what the weights were trained on",
            help="The images.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    evaluated: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            show_default=False,
            help="Networks that were trained on their own: a column a layer, then top1_pct.",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    networks: Annotated[
        int,
        typer.Option(
            metavar="N", min=5, help="Random networks of the run to evaluate.", rich_help_panel=EFFORT
        ),
    ] = 50,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu or cuda.", rich_help_panel=DEVICE)
    ] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            show_default="the table itself",
            help="Where to write the certified table.",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Certify an accuracy table: does its summed loss rank networks as their own accuracy does?

    Random networks of a run, with inherited weights and batch norm measured again, are evaluated on the
    validation images; none of them can have been fitted to (`ponas train table --method fitted`). Or
    --evaluated names networks that were trained on their own. Kendall's tau and Spearman's correlation
    with their 95 % intervals, the evaluation noise, and the tau of MACs alone go into the table's file.
    The paper has a tau of 0.733, over six networks; fewer than 50 say little. Evaluated networks are kept in
    the run's folder: another table is certified by the same ones at once. --run and --weights need the
    extra `train`.

    \b
    Examples:
      ponas table certify runs/digits-quick/accuracy.json \\
        --run runs/digits-quick
      ponas table certify accuracy.json --run runs/digits-quick --networks 200 \\
        --json
      ponas table certify accuracy.json --evaluated trained.csv
    """
    from ponas_deploy.commands.blas import one_thread

    one_thread()
    from dataclasses import replace

    from ponas_deploy.commands.output import print_json, show
    from ponas_deploy.files.opening import refuse_file
    from ponas_deploy.tables.accuracy_file import write_accuracy_table
    from ponas_deploy.tables.files import load_accuracy_table
    from ponas_deploy.tables.store import find_table

    if sum(given is not None for given in (run, weights, evaluated)) != 1:
        raise typer.BadParameter("give one of --run, --weights and --evaluated.")
    path = find_table(file)
    target = out or path
    if target.suffix.lower() == ".csv":
        raise typer.BadParameter("a CSV holds no certificate: name a .json with --out.", param_hint="--out")
    refuse_file(target, overwrite=force or target == path)
    table = load_accuracy_table(path)
    if evaluated is not None:
        certificate = _by_file(table, evaluated, seed)
    else:
        certificate = _by_run(table, path, run, weights, data, networks, device, seed)
    write_accuracy_table(replace(table, certificate=certificate), target, overwrite=True)
    if json:
        from ponas_deploy.commands.documents.table import certified_document

        print_json(certified_document(certificate, target))
        return
    from ponas_deploy.commands.reports.tables import accuracy_certificate_lines

    show(*accuracy_certificate_lines(certificate), f"written to {target}")


def _by_file(table: AccuracyTable, evaluated: Path, seed: int) -> AccuracyCertificate:
    from ponas_deploy.fitting.certify import certify_accuracy
    from ponas_deploy.tables.networks_csv import read_networks
    from ponas_deploy.tables.spaces import space_of

    found, space = read_networks(evaluated), space_of(table)
    return certify_accuracy(table, found, method="trained", made_on=evaluated.name, space=space, seed=seed)


def _by_run(
    table: AccuracyTable,
    path: Path,
    run: Path | None,
    weights: Path | None,
    data: str | None,
    networks: int,
    device: str,
    seed: int,
) -> AccuracyCertificate:
    from ponas_deploy.commands.output import note
    from ponas_deploy.commands.train.bars import needs_torch, training_bars
    from ponas_deploy.fitting.certify import certify_accuracy, noise_of_halves

    needs_torch()
    from ponas_deploy.engines.weights_files import read_file
    from train.files import finished
    from train.runs import SubnetsWanted, evaluated_subnets, open_run

    file = read_file(finished(run) if run else weights or Path(), note)
    with training_bars() as on_progress:
        source = open_run(file, data, on_progress)
        _refuse_another_space(table, path, source)
        wanted = SubnetsWanted("certify", networks, None, 0, seed, device)
        found = evaluated_subnets(source, wanted, on_progress, note)
    return certify_accuracy(
        table,
        found.networks,
        method="inherited",
        made_on=source.made_on,
        noise=noise_of_halves(found.halves_pct),
        space=source.space,
        seed=seed,
    )


def _refuse_another_space(table: AccuracyTable, path: Path, run: Run) -> None:
    """TableMismatchError before anything is evaluated, when the table is of another space or task."""
    from ponas_deploy.errors import TableMismatchError
    from ponas_deploy.tables.grid import Grid, SpaceKey

    key, ours = table.space, SpaceKey.of(run.space)
    if key is not None and (key.name, key.fingerprint) != (ours.name, ours.fingerprint):
        raise TableMismatchError(
            f"{path} is of space '{key.name}' ({key.fingerprint}), but the weights are of '{ours.name}'"
            f" ({ours.fingerprint}): certify it by a run of its own space."
        )
    if key is not None and key != ours:
        raise TableMismatchError(
            f"{path} is for {key.classes} classes at {key.resolution} px, but the weights are for"
            f" {ours.classes} at {ours.resolution} px: certify it by a run of its own images."
        )
    zeros = tuple((0.0,) * len(labels) for labels in run.space.labels)
    table.loss.aligned_to(Grid(run.layers, run.space.labels, zeros), "the table", "the weights' space")
