"""`ponas evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponas_deploy.commands.options import Arch, ArchSpace, Json, Seed
from ponas_deploy.commands.output import note, print_json, show
from ponas_deploy.commands.waiting import waiting

if TYPE_CHECKING:
    pass


def evaluate(
    arch: Arch,
    weights: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Weights of the network or of a supernet (safetensors), or its authors' checkpoint (.pth).",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|NAME",
            show_default="what --weights were trained on",
            help="A folder of images, or digits, fractal, cifar10, cifar100; options as NAME:key=value.",
        ),
    ] = None,
    engine: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="An emitted engine of this network, which must agree with torch."
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Which images: test, validation, train or all.")
    ] = "test",
    space: ArchSpace = None,
    resolution: Annotated[
        int | None, typer.Option(metavar="PX", min=8, help="Input side; default: that of --weights.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Processes that decode images; 0: as many as torch's threads."),
    ] = 0,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure a network's top-1 and top-5 on labelled images, through torch and through its engine.

    A supernet's weights are inherited, and their batch norm is measured again on training images. With
    --engine the same images go through that engine too; exit code 1 when the two do not agree. Needs
    the extra `train`.

    \b
    Examples:
      ponas evaluate PONAS-A --weights ponas_a.pth --data /data/imagenet
      ponas evaluate best.json --weights runs/digits-quick/weights.safetensors \\
        --engine engines/best
    """
    from ponas_deploy.engines import evaluation

    wanted = evaluation.EvaluationRequest(
        arch, weights, data, engine, split, space, resolution, workers, seed
    )
    with waiting() as advance:
        found = evaluation.evaluate(wanted, advance, note)
    from ponas_deploy.commands.documents.evaluation import evaluation_document

    document = evaluation_document(found)
    if json:
        print_json(document)
    else:
        from ponas_deploy.commands.reports.evaluate import evaluation_report

        show(evaluation_report(document))
    if found.agree is False:
        note(
            f"the engine does not agree with torch: it carries other weights"
            f" ({found.engine_weights}), or computes something else."
        )
        raise typer.Exit(1)
