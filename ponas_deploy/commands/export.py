"""`ponas export`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from ponas_deploy.commands import completing
from ponas_deploy.commands.help_text import DEVICE, EFFORT
from ponas_deploy.commands.options import (
    Arch,
    ArchSpace,
    Batch,
    Device,
    EngineClasses,
    EngineResolution,
    Finetune,
    Force,
    Json,
    ScaleImages,
    Seed,
    Threads,
    Weights,
    WeightsData,
    real_backends,
    refuse_threads,
)
from ponas_deploy.commands.output import note, print_json, show

_MIXED = (
    "{precision}: layers in int8 are named in ARCH (k5e6:int8) and go with mixed, and mixed with such layers;"
    " `ponas specialize --precision mixed` chooses them."
)


def export(
    arch: Arch,
    device: Device = None,
    backend: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=completing.backends,
            callback=real_backends,
            show_default="the device's first",
            help="The runtime: onnxruntime, openvino, ...",
            rich_help_panel=DEVICE,
        ),
    ] = "",
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="fp32, bf16, ...; default: the runtime's first. mixed: int8 in the layers that ARCH says"
            " (k5e6:int8).",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    compute_capability: Annotated[
        str | None,
        typer.Option(
            metavar="X.Y",
            show_default="the GPU that is here",
            help="Build for GPUs of a compute capability that are not here, with --backend tensorrt-rtx;"
            " nothing is measured.",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    threads: Threads = 1,
    batch: Batch = 1,
    space: ArchSpace = None,
    resolution: EngineResolution = None,
    classes: EngineClasses = None,
    weights: Weights = None,
    data: WeightsData = None,
    calibration: ScaleImages = None,
    finetune: Finetune = 0,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where the engine goes; default engines/<name>.", rich_help_panel=EFFORT
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Build a given architecture as an engine of this machine or of a board, and measure it there.

    The folder holds the portable ONNX, the device-tuned engine of the runtime and a manifest. With
    --compute-capability it is built on this machine for GPUs that are not here, and is still to be measured
    on one: there `ponas verify FOLDER --here` measures it and writes nothing, and `ponas export ARCH --device
    gpu --backend tensorrt-rtx` makes an engine that is measured.

    \b
    Examples:
      ponas export PONAS-A --backend openvino
      ponas export PONAS-C --backend onnxruntime --threads 2 \\
        --out engines/ponas-c
      ponas export PONAS-A --device jetson --backend tensorrt --precision fp16
      ponas export PONAS-A --backend tensorrt-rtx --compute-capability 8.9
    """
    from ponas_deploy.backends import MIXED, registry
    from ponas_deploy.commands.waiting import lines_of_a_build, waiting
    from ponas_deploy.engines.ahead import export_ahead
    from ponas_deploy.engines.export import export as export_engine
    from ponas_deploy.engines.loop import engine_document
    from ponas_deploy.engines.published_weights import trained_weights
    from ponas_deploy.engines.weights import open_weights
    from ponas_deploy.profiling.making import local_conditions
    from ponas_deploy.profiling.places import conditions_at, for_engines, reached
    from ponas_deploy.profiling.target import Target
    from ponas_deploy.tables.architectures import named_by, read_architecture
    from searchspace.mixed import is_int8, is_mixed, mixed

    if compute_capability is not None and device is not None:
        raise typer.BadParameter(
            "it is for GPUs that are not here: leave --device out.", param_hint="--compute-capability"
        )
    refuse_threads(threads, device or "cpu")
    carried = open_weights(weights, data, finetune, seed, calibration, note, waiting)
    named = named_by(arch, space or carried.space_name)
    built = carried.space(named.space, resolution or named.resolution, classes)
    if precision == MIXED or is_mixed(built.name) or is_mixed(named_by(arch).space):
        built, precision = mixed(built), precision or MIXED
    architecture = read_architecture(arch, built.name, built.resolution, built.classes)
    if is_mixed(built.name) and (precision != MIXED or not any(map(is_int8, architecture.choices))):
        raise typer.BadParameter(_MIXED.format(precision=precision), param_hint="--precision")
    trained = "" if weights else trained_weights(built.name)
    if trained and json:  # else the report says it
        note(trained)
    short = arch.lower().replace(":", "-") if len(arch) < 40 else "network"
    given: dict[str, Any] = {
        "weights": carried.source(built.resolution),
        "overwrite": force,
        "on_note": note,
        "on_build": lines_of_a_build(),
    }
    with ExitStack() as stack:
        if compute_capability is not None:
            runtime = backend or registry.default_backends()[0]
            name = "-".join(filter(None, (short, runtime, precision, compute_capability)))
            given |= {"backend": runtime, "precision": precision, "batch": batch}
            to = out or Path("engines") / Path(name).name
            engine = export_ahead(architecture, compute_capability, out=to, **given)
        else:
            place = None
            if device is None:
                registry.refuse_without_engines((backend,))
                conditions = local_conditions(
                    backend or registry.default_backends()[0], precision, threads, batch
                )
            else:
                target = Target(device, backend or (), precision or (), threads, batch)
                place = stack.enter_context(reached(target, f"an engine of {arch}", note))
                conditions = conditions_at(place, for_engines(place, target, note))[0]
            name = f"{short}-{conditions.backend}-{conditions.precision}"
            to = out or Path("engines") / Path(name).name
            engine = export_engine(architecture, conditions, out=to, place=place, **given)
    if json:
        print_json(engine_document(engine.manifest, engine.folder))
        return
    from ponas_deploy.commands.reports.engine import engine_report

    show(engine_report(engine, trained=trained))
