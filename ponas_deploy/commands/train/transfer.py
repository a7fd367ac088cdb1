"""`ponas train transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponas_deploy.commands.help_text import DEVICE, EFFORT, IMAGES, TRAINING
from ponas_deploy.commands.options import Json, Seed
from ponas_deploy.commands.output import note, print_json, show
from ponas_deploy.commands.train.bars import needs_torch, training_in
from ponas_deploy.commands.train.run import short

if TYPE_CHECKING:
    from ponas_deploy.tables.accuracy import AccuracyTable
    from train.runs import EvaluatedSubnets, Run, TransferResult
    from train.settings import TransferSettings

_SECONDS = 600.0


def transfer(
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME|DIR",
            show_default=False,
            help="Your images: a folder with one folder a class, or a data set; options as NAME:key=value.",
            rich_help_panel=IMAGES,
        ),
    ],
    weights: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="A supernet of Once-for-all, its authors' or trained here (`ponas weights` gets theirs).",
            rich_help_panel=IMAGES,
        ),
    ],
    space: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default="that of --weights", help="The search space.", rich_help_panel=IMAGES
        ),
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            min=8,
            show_default="that of --weights, or 224",
            help="Input side, a multiple of 4.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    enlarge: Annotated[
        bool,
        typer.Option(
            "--enlarge",
            help="Enlarge images even if most are smaller than the resolution.",
            rich_help_panel=IMAGES,
        ),
    ] = False,
    head_epochs: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Passes over the training images for the new classifier alone.",
            rich_help_panel=TRAINING,
        ),
    ] = 10,
    head_lr: Annotated[
        float, typer.Option(metavar="RATE", help="Its learning rate at the start.", rich_help_panel=TRAINING)
    ] = 0.05,
    epochs: Annotated[
        int, typer.Option(metavar="N", help="Passes for everything after that.", rich_help_panel=TRAINING)
    ] = 20,
    lr: Annotated[
        float, typer.Option(metavar="RATE", help="Its learning rate at the start.", rich_help_panel=TRAINING)
    ] = 0.01,
    batch: Annotated[int, typer.Option(metavar="N", help="Images a step.", rich_help_panel=TRAINING)] = 32,
    subnets: Annotated[
        int, typer.Option(metavar="N", help="Random networks that a step trains.", rich_help_panel=TRAINING)
    ] = 2,
    networks: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=20, help="Random networks to evaluate for the table.", rich_help_panel=EFFORT
        ),
    ] = None,
    time: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            show_default="600, without --networks",
            help="Evaluate as many as this allows, at least 20.",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu or cuda.", rich_help_panel=DEVICE)
    ] = "auto",
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="The run's folder; default runs/<data>-<space>.", rich_help_panel=EFFORT
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Fit a trained supernet to your own images, and make the accuracy table for them.

    The supernet gets a new classifier for your classes, which is trained first, alone; then everything is
    trained at a small rate, over random networks. A part of the images is held out: some to evaluate random
    networks on (batch norm measured again for each), to which the accuracy table is fitted, and some for the
    final test, which nothing here looks at. What comes out is what `specialize` needs. A run that was
    interrupted goes on where it stopped when the same command is given again; `ponas train status` says how
    far it is. Needs the extra `train`.

    \b
    Examples:
      ponas train transfer --data photos/ \\
        --weights ofa_mbv3_d234_e346_k357_w1.0 --resolution 128
      ponas train transfer --data photos/ \\
        --weights runs/fractal-ofa-mbv3-quick/weights.safetensors --time 300
      ponas specialize --device cpu --latency 5ms \\
        --weights runs/photos-ofa-mbv3/weights.safetensors \\
        --accuracy-table runs/photos-ofa-mbv3/accuracy.json \\
        --shortlist 10 --finetune 3
    """
    from ponas_deploy.commands.blas import one_thread

    one_thread()
    needs_torch()
    from ponas_deploy.engines.weights_files import read_file
    from ponas_deploy.fitting import LEAST_ROWS
    from train.files import RunPaths
    from train.runs import SubnetsWanted, open_transfer, transfer_run
    from train.settings import TransferSettings

    settings = TransferSettings(head_epochs, head_lr, epochs, lr, batch, subnets)
    file = read_file(weights, note)
    seconds = _SECONDS if networks is None and time is None else time
    wanted = SubnetsWanted("fit", networks, seconds, LEAST_ROWS, seed, device)
    folder = out or Path("runs") / f"{short(data)}-{space or file.metadata.get('space', '')}"

    def fit(run: Run, found: EvaluatedSubnets) -> AccuracyTable:
        return _fitted(run, found, settings, seed)

    finished = RunPaths(folder).table.exists()
    with training_in(folder) as on_progress:
        job = open_transfer(
            file,
            data,
            space=space,
            resolution=resolution,
            settings=settings,
            seed=seed,
            enlarge=enlarge,
            on_progress=on_progress,
        )
        result = transfer_run(job, folder, wanted, fit, device=device, on_progress=on_progress, on_note=note)
    if finished and (networks is not None or time is not None):
        note(
            "the run was finished before, and --networks and --time change nothing in it; a table of more"
            f" networks: ponas train table --run {folder} --networks {networks or 'N'}"
        )
    if json:
        from ponas_deploy.commands.train.documents import transferred_document

        print_json(transferred_document(result))
        return
    _show(result)


def _fitted(run: Run, found: EvaluatedSubnets, settings: TransferSettings, seed: int) -> AccuracyTable:
    from ponas_deploy.commands.train.fitted import fit_subnets, fitted_table

    epochs = (("head", settings.head_epochs), ("all", settings.epochs))
    return fitted_table(fit_subnets(run, found, seed), run, found, epochs)


def _show(result: TransferResult) -> None:
    from ponas_deploy.commands.reports.tables import table_report

    show(table_report(result.table, str(result.table_path)))
    note(f"weights: {result.weights}")
    certificate = result.table.certificate
    if certificate and certificate.kendall_tau_low <= 0:
        note(
            "the table may rank networks no better than chance: give more images, or leave out"
            " --accuracy-table below, for the space's own table"
        )
    note(
        f"next: ponas specialize --device cpu --latency 60% --weights {result.weights}"
        f" --accuracy-table {result.table_path} --shortlist 10 --finetune 3"
    )
