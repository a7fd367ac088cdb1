"""The options that several commands share, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ponas_deploy.commands import quantities

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]

Arch: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="ARCH",
        show_default=False,
        help="A published name (PONAS-A), a text form (k5e6,k5e3,...: one candidate a layer) or a file.",
    ),
]
SpaceName: TypeAlias = Annotated[
    str | None,
    typer.Option("--space", metavar="NAME", show_default="ponas", help="The search space."),
]
Resolution: TypeAlias = Annotated[
    int, typer.Option("--resolution", metavar="PX", min=1, help="Side of the square input in pixels.")
]
Classes: TypeAlias = Annotated[
    int, typer.Option("--classes", metavar="N", min=1, help="Number of classes the network tells apart.")
]

Device: TypeAlias = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="The device, see `ponas devices`.")
]
Backends: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--backend", metavar="NAME", help="A runtime: onnxruntime, openvino, tensorrt, ... May be repeated."
    ),
]
Precisions: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--precision", metavar="NAME", help="A precision: fp32, bf16, fp16, ... May be repeated."),
]
Threads: TypeAlias = Annotated[
    int, typer.Option("--threads", metavar="N", min=1, help="Threads the runtime may use.")
]
Batch: TypeAlias = Annotated[int, typer.Option("--batch", metavar="N", min=1, help="Images in one run.")]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
Seed: TypeAlias = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="Seed of the random generator.")
]

Table: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        show_default=False,
        help="A table: JSON, CSV, or the name of a stored or shipped one.",
    ),
]
LatencyTables: TypeAlias = Annotated[
    list[str],
    typer.Option(
        "--latency-table",
        metavar="FILE",
        show_default=False,
        help="A latency table: JSON, CSV (layer,candidate,latency_ms) or a stored name. May be repeated.",
    ),
]
AccuracyTableFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--accuracy-table",
        metavar="FILE",
        show_default="the space's own",
        help="An accuracy table: JSON, CSV (layer,candidate,loss_pp or top1_pct) or a stored name.",
    ),
]
ProfileTime: TypeAlias = Annotated[
    float,
    typer.Option(
        "--time",
        metavar="TIME",
        parser=quantities.parse_profile_time,
        help="Time for each table (20s, 2min, or seconds); more time, tighter intervals.",
    ),
]

Latency: TypeAlias = Annotated[
    quantities.LatencyBudget | None,
    typer.Option(
        "--latency",
        metavar="TIME",
        parser=quantities.parse_latency,
        help="The latency budget: 20ms, 850us, 1.2s, or 60% of the most that helps.",
    ),
]
Flops: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--flops", metavar="COUNT", parser=quantities.parse_count, help="At most so many MACs: 330M, 1.2G."
    ),
]
Params: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--params", metavar="COUNT", parser=quantities.parse_count, help="At most so many parameters: 5.1M."
    ),
]
Size: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--size", metavar="SIZE", parser=quantities.parse_size, help="At most so many bytes: 12MB, 11.5MiB."
    ),
]

EngineResolution: TypeAlias = Annotated[
    int | None, typer.Option(metavar="PX", min=1, help="Input side; default 224, or that of --weights.")
]
EngineClasses: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Classes; default 1000, or those of --weights.")
]
Weights: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Trained weights (safetensors, .pth) to carry; else random ones."),
]
WeightsData: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The data set of --weights, where the file does not say it."),
]
ScaleImages: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="FILE",
        show_default="training images of --data",
        help="Images for the scales of int8: a .npy file, (count, 3, PX, PX) float32 as the network wants.",
    ),
]
Finetune: TypeAlias = Annotated[
    int, typer.Option(metavar="EPOCHS", min=0, help="Fine-tune the inherited weights so many epochs.")
]
