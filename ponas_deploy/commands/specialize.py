"""`ponas specialize`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ponas_deploy.commands import completing, quantities
from ponas_deploy.commands.choosing import choose
from ponas_deploy.commands.deploying import default_folder, make_one, make_several
from ponas_deploy.commands.help_text import BUDGET, DEVICE, EFFORT, IMAGES, TABLES
from ponas_deploy.commands.limits import Limits, OwnLimits, with_limits
from ponas_deploy.commands.options import (
    AccuracyTableFiles,
    Backends,
    Batch,
    Devices,
    EngineClasses,
    Estimate,
    Finetune,
    Force,
    Json,
    Precisions,
    ScaleBy,
    ScaleImages,
    Seed,
    SeveralResolutions,
    SpaceName,
    Streams,
    Threads,
    Weights,
    WeightsData,
    refuse_threads,
)
from ponas_deploy.commands.output import note


def _percentile(value: int) -> int:
    """One of those that are measured; a usage error otherwise."""
    from ponas_deploy.tables.measurement import PERCENTILES

    if value not in PERCENTILES:
        raise typer.BadParameter(f"{value} is not one of {', '.join(map(str, PERCENTILES))}.")
    return value


@with_limits
def specialize(
    limits: Limits,
    own: OwnLimits,
    percentile: Annotated[
        int,
        typer.Option(
            metavar="50|90|95|99",
            callback=_percentile,
            help="The latency budget is on this percentile of single inferences.",
            rich_help_panel=BUDGET,
        ),
    ] = 50,
    confidence: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0.5,
            max=0.999,
            show_default="0.95 with --device",
            help="Choose with a margin that keeps this share of networks under the budget.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    device: Devices = None,
    robust: Annotated[
        bool,
        typer.Option(
            "--robust",
            help="One network for all of several --device: the best that keeps every budget.",
            rich_help_panel=DEVICE,
        ),
    ] = False,
    latency_table: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            autocompletion=completing.latency_tables,
            help="A latency table: JSON, CSV or a stored name; else the device's. May be repeated.",
            rich_help_panel=TABLES,
        ),
    ] = None,
    estimate: Estimate = None,
    scale_by: ScaleBy = None,
    accuracy_table: AccuracyTableFiles = None,
    backend: Backends = None,
    precision: Precisions = None,
    threads: Threads = 1,
    batch: Batch = 1,
    streams: Streams = 1,
    space: SpaceName = None,
    resolution: SeveralResolutions = None,
    classes: EngineClasses = None,
    weights: Weights = None,
    data: WeightsData = None,
    calibration: ScaleImages = None,
    finetune: Finetune = 0,
    shortlist: Annotated[
        int,
        typer.Option(
            metavar="K",
            min=0,
            help="Evaluate the K best by the tables with the weights they inherit; the best of them wins.",
            rich_help_panel=IMAGES,
        ),
    ] = 0,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="exact (the optimum) or ga (the paper's genetic algorithm).",
            rich_help_panel=EFFORT,
        ),
    ] = "exact",
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the engine goes; default engines/<device>-<budget>. Of several --device the folder of"
            " their folders.",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    tries: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Networks that are built and timed at the most; four times as many while the best one uses"
            " little of the budget and others may use more.",
            rich_help_panel=EFFORT,
        ),
    ] = 8,
    time: Annotated[
        float,
        typer.Option(
            metavar="TIME",
            parser=quantities.parse_profile_time,
            help="Time missing profiles may take, all together (60s, 2min).",
            rich_help_panel=EFFORT,
        ),
    ] = 60.0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Find the best network within a budget; with --device emit an engine measured to meet it.

    Without --device this only chooses, from a latency table and an accuracy table; --resolution and --classes
    say which networks a CSV is of, for budgets on parameters, MACs and size. With --device cpu
    this machine is profiled where it was not yet, the engine is built and timed in fresh processes, and
    the search goes on until the measured latency meets the budget: its median, or --percentile. A board
    (`ponas devices add`) is measured in the same way, over its link. Any other
    device must have a table in the store; its engine is emitted as portable ONNX, to be built and measured
    there. With --estimate that table is made of a board's published figures: a guess, which it says with how
    far it may be off, and which is left out where a measured table of the device serves.

    Without --space the networks are those of Once-for-all on MobileNetV3 (ofa-mbv3), whose accuracy table is
    of ImageNet and whose trained weights `ponas weights --space ofa-mbv3 --download` gets; without --weights
    the engine carries random ones, and says so. --weights and tables of another space take that one.

    Runtime and precision are chosen together: --precision auto, the default, takes every precision that keeps
    accuracy, and int8 where weights name their data set: what it loses is measured on a few networks first.

    Predicted is not measured, so the search leaves a margin: 95 % (--confidence) of the networks in the
    table's own certificate measured at most that much over their prediction. The first measurement takes
    its place. Without --device a margin is left only where --confidence asks for it, and none where a table
    has no certificate (a CSV): then the whole budget is used, and a warning says so. What else there is to
    say against a table is a warning too; a table that predicts hardly better than chance, or of this machine
    as it was with another runtime or power mode, is refused where --confidence asks it for a promise.

    Of several resolutions (--resolution 160,192,224, or auto for those that make sense) each has latency
    tables of its own; the best network of all is chosen, at its resolution. What a network loses at each is
    said by an --accuracy-table of each, or by one table that knows it, such as that of ofa-mbv3.

    Several --device have a folder each below --out. Boards are measured at the same time, this machine alone
    after them; where a device fails, the others go on, and exit code 1 says so at the end. With --robust
    they share one network: of those that keep the budget on every device, by its tables and their margins,
    the one that loses least, and a table says what sharing costs each device against the best network of its
    own. Every runtime and precision that a device has a table of may run it. A budget may be one device's:
    --latency jetson=20ms. --latency-table names the tables of the device that it is of.

    --throughput is measured of inferences one right after another, in place of single ones; with --streams
    so many run at once, which has latency tables of its own. --size, --memory and --energy are checked on
    the engine: what it takes corrects the search, and without --device they are predictions. Energy is
    printed where the machine counts it; nothing predicts it before an engine was measured, so that --energy
    takes a --device that counts it.

    Exit code 3 when the machine is too noisy to tell whether the engine meets its budget: the engine is
    there, the report says what makes it possible to tell, and `ponas verify` measures again.

    \b
    Examples:
      ponas specialize --device cpu --latency 3ms
      ponas specialize --device cpu --latency 60% --backend onnxruntime
      ponas specialize --device cpu --latency 3ms --space ponas
      ponas specialize --device cpu --fps 400 --batch 8
      ponas specialize --device cpu --throughput 500 --batch 8 --streams 2
      ponas specialize --device cpu --latency 20ms --memory 100MB --size 15MB
      ponas specialize --device cpu --latency 20ms --energy 50mJ
      ponas specialize --device cpu --latency 5ms --percentile 99
      ponas specialize --device jetson --latency 20ms --params 5M
      ponas specialize --estimate orin-nano --latency 2ms
      ponas specialize --device cpu --latency 300us \\
        --weights runs/digits-quick/weights.safetensors \\
        --shortlist 10 --finetune 5
      ponas specialize --device cpu --space ofa-mbv3 --resolution 160,192,224 \\
        --latency 5ms
      ponas specialize --device jetson --device pi --robust --latency 20ms
      ponas specialize --device jetson --device pi --robust \\
        --latency jetson=8ms --latency pi=60ms
      ponas specialize --latency-table mine.csv --accuracy-table loss.csv \\
        --latency 20ms --json
      ponas specialize --latency-table mine.json --accuracy-table loss.csv \\
        --latency 20ms --confidence 0.9
    """
    if estimate and (latency_table or backend):
        raise typer.BadParameter("--estimate makes the latency table, of no runtime: name one of the two.")
    if scale_by and not estimate:
        raise typer.BadParameter("--scale-by scales an estimate: name a board with --estimate.")
    devices = device or ([estimate] if estimate else [])
    if estimate and len(devices) > 1:
        raise typer.BadParameter("--estimate makes the table of one device: `ponas profile` makes others.")
    if robust and len(devices) < 2:
        raise typer.BadParameter("--robust: only with several --device, which share a network.")
    _refuse_other_devices(own, devices)
    if not devices:
        of_engines = {
            "--backend": backend,
            "--precision": precision,
            "--percentile": percentile != 50,
            "--threads": threads > 1,
            "--batch": batch > 1,
            "--weights": weights,
            "--data": data,
            "--calibration": calibration,
            "--finetune": finetune,
            "--shortlist": shortlist,
            "--out": out,
            "--force": force,
        }
        if idle := [name for name, value in of_engines.items() if value]:
            raise typer.BadParameter(f"{', '.join(idle)}: only with --device, where an engine is emitted.")
        networks = space, resolution, classes
        choose(limits, latency_table or [], accuracy_table or [], networks, method, seed, confidence, json)
        return
    from ponas_deploy.commands.progress_table import progress_table
    from ponas_deploy.commands.screen import drawing
    from ponas_deploy.commands.tries import tries_on
    from ponas_deploy.commands.waiting import lines_of_a_build, waiting
    from ponas_deploy.engines.published_weights import trained_weights
    from ponas_deploy.engines.wanted import Deployment
    from ponas_deploy.engines.weights import open_weights
    from ponas_deploy.profiling.target import Target
    from ponas_deploy.tables import store
    from ponas_deploy.tables.chosen_space import chosen_space
    from ponas_deploy.tables.margin import CONFIDENCE
    from ponas_deploy.tables.resolutions import AUTO
    from ponas_deploy.tables.spaces import sizes_of

    for one in devices:
        refuse_threads(threads * streams, one)
    carried = open_weights(weights, data, finetune, seed, calibration, note, waiting)
    latencies = [store.latency_table(name).table for name in latency_table or ()]
    accuracies = [store.accuracy_table(name) for name in accuracy_table or ()]
    chosen = chosen_space(space, carried.space_name, (*latencies, *(one.table for one in accuracies)))
    built = carried.space(chosen.name, *sizes_of(latencies, resolution.one if resolution else None, classes))
    targets = [
        Target(one, backend or (), precision or (), threads, batch, streams=streams) for one in devices
    ]
    note(f"search space {chosen.text}")
    if estimate and "mixed" in (precision or ()):
        raise typer.BadParameter("--estimate knows no mixed precision: it is measured.")
    if estimate:
        from ponas_deploy.profiling.estimates import estimate_tables
        from ponas_deploy.tables.resolutions import spaces_at

        sizes = (resolution.px if resolution else ()) or (built.resolution,)
        estimate_tables(targets[0], spaces_at(built, sizes), estimate, scale_by=scale_by, on_note=note)
    trained = "" if weights else trained_weights(built.name)
    if trained and json:  # else the report says it
        note(trained)
    said_limits = dict.fromkeys(
        limit.text for limits_of_one in (limits, *own.values()) for limit in limits_of_one.values()
    )
    with drawing() as screen, progress_table(screen) as on_progress:
        asked = Deployment(
            built,
            out or default_folder(targets, said_limits),
            accuracies,
            limits,
            resolutions=(resolution.px or AUTO) if resolution else None,
            percentile=percentile,
            confidence=confidence or CONFIDENCE,
            weights=carried,
            latency_table=latency_table,
            shortlist=shortlist,
            method=method,
            seed=seed,
            tries=tries,
            seconds=time,
            overwrite=force,
            on_note=note,
            on_progress=on_progress,
            on_build=lines_of_a_build(),
            on_attempt=tries_on(screen, of_several=len(targets) > 1),
        )
        if len(targets) > 1:
            make_several(asked, targets, own, robust, (chosen.text, trained), json)
        else:
            asked = replace(asked, budget={**limits, **own.get(devices[0], {})})
            make_one(asked, targets[0], (chosen.text, trained), json)


def _refuse_other_devices(own: OwnLimits, devices: Sequence[str]) -> None:
    """A usage error for the limit of a device that is not among those named."""
    if other := [name for name in own if name not in devices]:
        raise typer.BadParameter(
            f"a limit is of device {other[0]}, which no --device names."
            if devices
            else f"a limit is of device {other[0]}: only with --device."
        )
