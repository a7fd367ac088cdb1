"""`ponas measure`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ponas_deploy.commands import quantities
from ponas_deploy.commands.options import (
    Backends,
    Json,
    OneDevice,
    OpenSizes,
    Precisions,
    Streams,
    Threads,
    bounded,
    open_sizes,
    refuse_threads,
)
from ponas_deploy.commands.output import note, print_json, show


def measure(
    model: Annotated[Path, typer.Argument(metavar="FILE", show_default=False, help="An ONNX model.")],
    device: OneDevice = "cpu",
    backend: Backends = None,
    precision: Precisions = None,
    threads: Threads = 1,
    batch: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            callback=bounded("Batch"),
            show_default="1, or the model's own",
            help="The first size of the inputs, where the model leaves it open.",
        ),
    ] = None,
    streams: Streams = 1,
    throughput: Annotated[
        bool,
        typer.Option("--throughput", help="Time inferences one right after another, for images per second."),
    ] = False,
    size: OpenSizes = None,
    time: Annotated[
        float,
        typer.Option(
            metavar="TIME",
            parser=quantities.parse_duration,
            help="How long a runtime is timed, in its fresh processes together (600ms, 2s, 1min).",
        ),
    ] = 1.8,
    json: Json = False,
) -> None:
    """Measure the latency of an ONNX model that you already have, by the protocol of engines.

    In three fresh processes, single inferences, again where something disturbed them; percentiles and the
    noise beside them. --time is shared among the processes, each of which takes 30 inferences at least and
    2000 at most; starting them and building come on top. Every runtime of the processor at its first
    precision, unless --backend or --precision name some. Weights may lie in files beside the model. Inputs
    are filled with random numbers, whole numbers and flags with ones; sizes that the model leaves open are
    given with --batch and --size. Beside it stand the peak memory of the processes, less that of the runtime,
    and the energy of an inference where the machine counts it. With --throughput, and always on several
    --streams, each value is the mean of inferences one right after another (20 ms of them), and images per
    second are printed. Where a latency table of this machine serves the same conditions (`ponas
    profile`), the network of its front that takes as long stands beside.

    \b
    Examples:
      ponas measure my.onnx
      ponas measure my.onnx --backend openvino --precision bf16 --threads 2
      ponas measure my.onnx --throughput --batch 8 --streams 2
      ponas measure my.onnx --device jetson --backend tensorrt --precision fp16
      ponas measure detector.onnx --size height=320 --size width=320 --json
    """
    from ponas_deploy.commands.waiting import lines_of_a_build
    from ponas_deploy.engines.measured_model import measure_model, measured_model_document
    from ponas_deploy.profiling.target import Target

    refuse_threads(threads * streams, device)
    found = measure_model(
        model,
        Target(device, backend or (), precision or (), threads, streams=streams),
        sizes=open_sizes(size),
        batch=batch,
        seconds=time,
        throughput=throughput,
        on_note=note,
        on_build=lines_of_a_build(),
    )
    if json:
        print_json(measured_model_document(found))
        return
    from ponas_deploy.commands.reports.measured_model import measured_model_report

    show(measured_model_report(found))
