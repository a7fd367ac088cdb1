"""`ponas train`: meta network, progressive fine-tuning, accuracy table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponas_deploy.commands.options import Json, Seed, own_name
from ponas_deploy.commands.output import note, print_json, show
from ponas_deploy.commands.train.bars import needs_torch, training_in

if TYPE_CHECKING:
    from ponas_deploy.tables.accuracy import AccuracyTable
    from train.runs import EvaluatedSubnets, Run, TrainResult
    from train.settings import TrainSettings


def train(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME|DIR",
            help="The images to train on: digits, fractal, cifar10, cifar100 or a folder of images;"
            " with options as NAME:key=value,key=value.",
        ),
    ] = "digits",
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="paper (the paper's recipe) or quick (minutes on two cores).")
    ] = "paper",
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            metavar="NAME",
            show_default="ponas",
            callback=own_name,
            help="The search space.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The run's folder; default runs/<data>-<preset>, with the name of another space than ponas.",
        ),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(metavar="PX", min=8, help="Input side; default: the data set's own.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu or cuda.")] = "auto",
    seed: Seed = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Change a setting of the recipe, such as meta.epochs=30 or shrink.batch=32;"
            " a wrong name lists them all. May be repeated.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Train the meta network, fine-tune it layer by layer, and write the accuracy table and the weights.

    The table says what each of the candidates is worth in each layer (PONAS, section 3.2). A space that
    leaves out layers of a stage (ofa-mbv3) is trained by progressive shrinking instead: the largest
    network, then elastic kernel sizes, depths and widths (settings shrink.*), and the table is fitted to
    random subnets. A space whose candidates are no parts of each other (spos-shufflenet) trains path by path
    (settings single_path.*; --set recipe=single-path asks for it in any space without stages). The weights
    name their space, so that `specialize --weights` goes on in it without being told.

    A run that was interrupted goes on where it stopped when the same command is given again; `ponas train
    status` says how far it is. Started by torchrun, it trains on several GPUs and machines. Needs the
    extra `train`.

    \b
    Examples:
      ponas train --data digits --preset quick
      ponas train --data photos/ --set meta.epochs=30 --set meta.lr=0.05
      torchrun --nproc-per-node 8 --no-python ponas train --data /data/imagenet
      ponas train --data fractal:classes=20,images=500 --resolution 64 \\
        --space ponas
      ponas train --data /data/imagenet
      ponas train --space ofa-mbv3 --data digits --preset quick
      ponas train --space spos-shufflenet --data digits --preset quick
      ponas specialize --device cpu --latency 300us \\
        --weights runs/digits-quick/weights.safetensors
    """
    if context.invoked_subcommand:
        return
    needs_torch()
    from ponas_deploy.commands.blas import one_thread

    one_thread()
    from train.settings import TrainSettings, assigned
    from train.settings import preset as preset_of

    named = space or TrainSettings().space
    typed = preset_of(preset, data=data, space=named, seed=seed, resolution=resolution, device=device)
    folder = out or Path("runs") / _named(data, named, preset)
    chosen = assigned(typed, settings or ())
    result = _trained(chosen, folder)
    if result is None:
        return
    if json:
        from ponas_deploy.commands.train.documents import trained_document

        print_json(trained_document(result))
        return
    from ponas_deploy.commands.reports.tables import table_report

    show(table_report(result.table, str(result.table_path)))
    note(f"weights: {result.weights}")


def _trained(settings: TrainSettings, folder: Path) -> TrainResult | None:
    """Train; None in a process that only helps another one."""
    from train.compute import distributed
    from train.runs import fitted_run, train_run
    from train.settings import recipe_of

    def fit(run: Run, found: EvaluatedSubnets) -> AccuracyTable:
        from ponas_deploy.commands.train.fitted import fit_subnets, fitted_table

        return fitted_table(fit_subnets(run, found, settings.seed), run, found, ())

    with training_in(folder) as on_progress:
        if recipe_of(settings) != "progressive":
            return fitted_run(settings, folder, fit, on_progress, note)
        result = train_run(settings, folder, on_progress)
    return result if distributed.leads() else None


def _named(data: str, space: str, preset: str) -> str:
    """The name of a run's folder: `digits-quick`, with its space where that is not the usual one."""
    from train.settings import TrainSettings

    parts = (short(data), "" if space == TrainSettings().space else space, preset)
    return "-".join(part for part in parts if part)


def short(data: str) -> str:
    """A data set as part of a folder's name: `fractal-classes-20`, `photos`."""
    from ponas_deploy.machines.names import slug

    name, _, options = data.partition(":")
    return slug(f"{Path(name).resolve().name}-{options}") or "images"
