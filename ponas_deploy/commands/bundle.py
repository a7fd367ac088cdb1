"""`ponas bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ponas_deploy.commands.help_text import DEVICE, EFFORT
from ponas_deploy.commands.options import (
    Backends,
    Batch,
    Classes,
    Force,
    Precisions,
    ProfileTime,
    Resolution,
    Seed,
    SpaceName,
    Streams,
)
from ponas_deploy.commands.output import note


def bundle(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The archive to write.", rich_help_panel=EFFORT)
    ] = Path("ponas-bundle.pyz"),
    backend: Backends = None,
    precision: Precisions = None,
    threads: Annotated[
        int,
        typer.Option("--threads", min=1, max=1024, help="Threads a run uses there.", rich_help_panel=DEVICE),
    ] = 1,
    batch: Batch = 1,
    streams: Streams = 1,
    space: SpaceName = None,
    resolution: Resolution = 224,
    classes: Classes = 1000,
    time: ProfileTime = 75.0,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="what it says of itself",
            help="What to call the board.",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Write one archive that profiles a board which no link reaches: carry it there, bring a file back.

    The archive holds the models of a search space, what measures them, and the plan. The board needs Python
    3.8 or newer with NumPy and the runtime, nothing else, and no network. There it takes one command, which
    goes on where it was ended when it is given again, and writes a file:

    \b
      python3 ponas-bundle.pyz

    Back here that file becomes a certified latency table in your store, as if the board had been profiled
    over its link:

    \b
      ponas profile --import ponas-result-....zip --name jetson
      ponas specialize --device jetson --latency 20ms

    Each runtime (--backend, onnxruntime where none is named) at each precision (the runtime's first one on
    the board) is a table of its own and takes --time. The archive can also be unpacked (unzip) and run as a
    folder (python3 FOLDER).

    \b
    Examples:
      ponas bundle --space ponas --time 2min
      ponas bundle --backend tensorrt --precision fp16 --resolution 160 \\
        --name jetson --out jetson.pyz
    """
    from ponas_deploy.commands.progress_table import progress_table
    from ponas_deploy.profiling.bundle import BundleOptions, make_bundle
    from ponas_deploy.tables.chosen_space import chosen_space
    from searchspace import build_space

    chosen = chosen_space(space)
    note(f"search space {chosen.text}")
    options = BundleOptions(
        tuple(dict.fromkeys(backend or BundleOptions().backends)),
        tuple(dict.fromkeys(precision or ())),
        threads,
        batch,
        time,
        name or "",
        seed,
        streams,
    )
    with progress_table() as on_progress:
        made = make_bundle(
            build_space(chosen.name, resolution, classes),
            options,
            out,
            overwrite=force,
            on_progress=on_progress,
        )
    size_mb = made.path.stat().st_size / 1e6
    tables = f"{made.profiles} table{'s' if made.profiles > 1 else ''}"
    note(f"{made.path}: {size_mb:.1f} MB, {made.blocks} blocks, {made.networks} networks, {tables}")
    note(f"on the board: python3 {made.path.name}")
    note("here, with the file that it writes there: ponas profile --import FILE")
