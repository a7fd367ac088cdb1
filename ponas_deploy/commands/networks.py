"""`ponas networks`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ponas_deploy.commands import completing
from ponas_deploy.commands.help_text import DEVICE, EFFORT
from ponas_deploy.commands.options import (
    Batch,
    Classes,
    Force,
    Json,
    OneDevice,
    Resolution,
    Seed,
    SpaceName,
    Threads,
    real_backends,
    refuse_threads,
)
from ponas_deploy.commands.output import note, print_json


def networks(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            show_default=False,
            help="The CSV to write, or to go on with.",
            rich_help_panel=EFFORT,
        ),
    ],
    count: Annotated[
        int, typer.Option("--count", metavar="N", min=1, help="Networks to measure.", rich_help_panel=EFFORT)
    ] = 400,
    device: OneDevice = "cpu",
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completing.backends,
            callback=real_backends,
            show_default="the device's first",
            help="The runtime.",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default="the runtime's first", help="The precision.", rich_help_panel=DEVICE
        ),
    ] = None,
    threads: Threads = 1,
    batch: Batch = 1,
    space: SpaceName = None,
    resolution: Resolution = 224,
    classes: Classes = 1000,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Measure random whole networks into a CSV, for `ponas table fit`: no block is built alone.

    For runtimes that take seconds to build a model and make something else of a block inside a network than
    of the block alone. A fit needs about twice as many networks as there are candidates in all layers; with
    another table to start from, `ponas profile --prior` needs only a few dozen. The file is safe after every
    24 networks, and the same command again goes on with it; --count can be raised. When most rounds of such a
    group were disturbed by other work, they are taken again in the gaps, for up to half of the time it took.

    \b
    Examples:
      ponas networks --device gpu --backend tensorrt --precision fp16 \\
        --count 456 --out measured.csv
      ponas table fit measured.csv --out latency.json
    """
    from ponas_deploy.commands.progress_table import progress_table
    from ponas_deploy.profiling.mixed import with_precisions
    from ponas_deploy.profiling.random_networks import profile_networks
    from ponas_deploy.profiling.target import Target
    from ponas_deploy.tables.chosen_space import chosen_space
    from searchspace import build_space

    if out.suffix.lower() != ".csv":
        raise typer.BadParameter("networks are written as CSV: name it .csv.", param_hint="--out")
    refuse_threads(threads, device)
    chosen = chosen_space(space)
    built = build_space(chosen.name, resolution, classes)
    built, target = with_precisions(built, Target(device, backend or (), precision or (), threads, batch))
    note(f"search space {chosen.text}")
    with progress_table() as on_progress:
        made = profile_networks(
            target, built, count, out, seed=seed, overwrite=force, on_note=note, on_progress=on_progress
        )
    if json:
        from ponas_deploy.commands.documents.networks import measured_networks

        print_json(measured_networks(made))
        return
    found = made.networks
    typer.echo(
        f"{out}: {len(set(found.choices))} networks of {min(found.values):.3f} to {max(found.values):.3f} ms,"
        f" each measured twice. Next: ponas table fit {out} --out latency.json"
        f" --space {built.name} --resolution {resolution} --classes {classes}"
    )
