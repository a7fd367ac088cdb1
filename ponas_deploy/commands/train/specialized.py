"""`ponas train specialized`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ponas_deploy.commands.help_text import DEVICE, EFFORT, IMAGES, TRAINING
from ponas_deploy.commands.options import Arch, ArchSpace, Json, Seed
from ponas_deploy.commands.output import note, print_json, show
from ponas_deploy.commands.train.bars import needs_torch, training_in
from ponas_deploy.commands.train.run import short


def specialized(
    arch: Arch,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR",
            show_default="what --weights or --distill were trained on",
            help="The images: digits, fractal, cifar10, cifar100 or a folder; options as NAME:key=value.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Inherit from a supernet or a network; else from scratch.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    distill: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Learn from this network's answers too: a run's meta.safetensors.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(
            metavar="T", help="Softness of the answers that --distill compares.", rich_help_panel=TRAINING
        ),
    ] = 4.0,
    distill_weight: Annotated[
        float,
        typer.Option(
            metavar="W",
            help="Share of --distill in the loss; the labels have the rest.",
            rich_help_panel=TRAINING,
        ),
    ] = 0.9,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            show_default="150; SPOS 300",
            help="Passes over the training images.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            show_default="0.045; SPOS 0.5",
            help="Learning rate at the start.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            metavar="N", show_default="256; SPOS 1024", help="Images a step.", rich_help_panel=TRAINING
        ),
    ] = None,
    decay: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="cosine; SPOS linear",
            help="How the learning rate falls to 0: cosine or linear.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            show_default="0; SPOS 0.1",
            help="Share of a label spread over all classes.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    space: ArchSpace = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            min=8,
            help="Input side; default: that of --weights, or the images' own.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu or cuda.", rich_help_panel=DEVICE)
    ] = "auto",
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="The run's folder; default runs/<data>-<arch>.", rich_help_panel=EFFORT
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Train one network by the paper's recipe, from scratch or from inherited weights.

    SGD with Nesterov momentum 0.9, weight decay 4e-5 and a cosine (PONAS, section 4.1); networks of the SPOS
    spaces as published: plain momentum, a line to 0, label smoothing, no decay of biases and batch norms.
    What comes out is a weights file for `specialize`, `export` and `evaluate`, and a result with its
    accuracy. Top-1 that is shown meanwhile is, with --weights, by batch norm measured again on 512 training
    images, as it is measured again in the end. A run that was interrupted goes on where it stopped when the
    same command is given again. Needs the extra `train`.

    \b
    Examples:
      ponas train specialized PONAS-A --data /data/imagenet
      ponas train specialized SPOS-MMRAZOR --data /data/imagenet --batch 256 \\
        --lr 0.125
      ponas train specialized engines/best/manifest.json \\
        --weights runs/digits-quick/weights.safetensors \\
        --epochs 20 --lr 0.01 --batch 64 \\
        --distill runs/digits-quick/meta.safetensors
      ponas export PONAS-A --weights runs/imagenet-ponas-a/weights.safetensors
    """
    needs_torch()
    from ponas_deploy.engines.weights_files import read_file
    from train.compute import Compute, distributed
    from train.files import SPECIALIZED, SpecializedPrinted
    from train.runs import TrainingJob, data_of, fitting, load_images, specialized_run
    from train.settings import Distillation, retraining

    taught = Distillation(temperature, distill_weight) if distill else None
    recipe = partial(
        retraining,
        epochs=epochs,
        batch=batch,
        lr=lr,
        decay=decay,
        label_smoothing=label_smoothing,
        distillation=taught,
    )
    recipe("ponas")  # what cannot be is refused before an image is read
    inherited = read_file(weights, note) if weights else None
    teacher = read_file(distill, note) if distill else None
    files = [file for file in (inherited, teacher) if file]
    images = data_of(files, data)
    folder = out or Path("runs") / f"{short(images)}-{_named(arch)}"
    with training_in(folder) as on_progress, distributed.joined(Compute.on(device).device):
        reading = partial(
            load_images,
            files,
            data=images,
            resolution=resolution,
            seed=seed,
            workers=distributed.own_cores(),
            on_progress=on_progress,
        )
        splits = distributed.in_turn(reading)
        architecture = fitting(arch, space, inherited, splits)
        settings = recipe(architecture.space.name)
        job = TrainingJob(architecture, splits, settings, seed, inherited, teacher)
        result = specialized_run(job, folder, device=device, on_progress=on_progress)
    if not distributed.leads():
        return
    if json:
        from ponas_deploy.commands.documents.values import values_of

        places = {"weights": str(result.weights), "result": str(result.path)}
        print_json(SpecializedPrinted(**{**values_of(result.document), **places, "format": SPECIALIZED.tag}))
        return
    from ponas_deploy.commands.reports.trained import trained_report

    show(trained_report(result.document, str(result.weights)))


def _named(arch: str) -> str:
    """An architecture as part of a folder's name: `ponas-a`, `best` for best.json."""
    name = Path(arch).stem
    return short(name) if len(name) < 40 else "network"
