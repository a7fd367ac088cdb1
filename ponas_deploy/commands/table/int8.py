"""`ponas table int8`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ponas_deploy.commands import completing
from ponas_deploy.commands.help_text import DEVICE, EFFORT, IMAGES
from ponas_deploy.commands.options import (
    AccuracyTableFile,
    Force,
    Json,
    ScaleImages,
    Seed,
    SpaceName,
    WeightsData,
    real_backends,
)


def int8(
    weights: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Trained weights: of a supernet, or of one network.",
            rich_help_panel=IMAGES,
        ),
    ],
    data: WeightsData = None,
    calibration: ScaleImages = None,
    accuracy_table: AccuracyTableFile = None,
    space: SpaceName = None,
    backend: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=completing.backends,
            callback=real_backends,
            show_default="the first on a processor",
            help="The runtime that networks are evaluated through, one that has int8 on a processor.",
            rich_help_panel=DEVICE,
        ),
    ] = "",
    each_candidate: Annotated[
        bool,
        typer.Option(
            "--each-candidate",
            help="Evaluate every candidate in int8, not one of each layer: takes many times as long.",
            rich_help_panel=EFFORT,
        ),
    ] = False,
    networks: Annotated[
        int,
        typer.Option(
            metavar="N", min=5, help="Random networks that certify the table.", rich_help_panel=EFFORT
        ),
    ] = 16,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            show_default="accuracy-mixed.json beside the weights",
            help="Where to write the table.",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Measure what layers lose in int8: the accuracy table that --precision mixed is searched by.

    One layer at a time is in int8 in a network that is otherwise in fp32; both are evaluated through the
    runtime on the validation images of the weights' data set, and what is lost is added to the losses of the
    blocks, for all candidates of the layer. With --each-candidate each has a loss of its own. Together layers
    lose less than one by one: a factor on all of them is fitted on random networks of blocks and precisions,
    evaluated the same way. Others certify the table: how well it ranks them, and how far the losses in int8
    are off. Needs the extra `train`.

    \b
    Examples:
      ponas table int8 --weights runs/digits-quick/weights.safetensors
      ponas table int8 --weights runs/digits-quick/weights.safetensors \\
        --backend openvino --networks 50 --out mixed.json --json
    """
    from ponas_deploy.commands.blas import one_thread

    one_thread()
    from ponas_deploy.backends import get_backend, registry
    from ponas_deploy.commands.output import note, print_json, show
    from ponas_deploy.commands.waiting import waiting
    from ponas_deploy.engines.int8_losses import measure_int8_losses
    from ponas_deploy.engines.losses import MIXED_TABLE, losses_of_blocks
    from ponas_deploy.engines.weights import open_weights
    from ponas_deploy.files.opening import refuse_file
    from ponas_deploy.tables import store
    from ponas_deploy.tables.accuracy_file import write_accuracy_table
    from ponas_deploy.tables.chosen_space import chosen_space

    target = out or weights.parent / MIXED_TABLE
    refuse_file(target, overwrite=force)
    carried = open_weights(weights, data, 0, seed, calibration, note, waiting)
    named = store.accuracy_table(accuracy_table, note) if accuracy_table else None
    chosen = chosen_space(space, carried.space_name, [named.table if named else None])
    built = carried.space(chosen.name, None, None)
    base = losses_of_blocks(built, named, carried.file, note)
    with waiting() as advance:
        found = measure_int8_losses(
            built,
            carried.source(built.resolution),
            base.brought_to(built.resolution),
            get_backend(backend or registry.default_backends()[0]),
            networks=networks,
            each_candidate=each_candidate,
            seed=seed,
            on_evaluated=lambda done, wanted: advance(done, wanted, "evaluating networks"),
        )
    write_accuracy_table(found.table, target, overwrite=True)
    if json:
        from ponas_deploy.commands.documents.int8 import int8_document

        print_json(int8_document(found, target))
        return
    from ponas_deploy.commands.reports.int8 import int8_report

    show(*int8_report(found), f"written to {target}")
