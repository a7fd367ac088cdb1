"""The options that several commands share, each written once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import typer

from ponas_deploy.commands import completing, quantities
from ponas_deploy.commands.help_text import DEVICE, EFFORT, IMAGES, TABLES
from ponas_deploy.commands.quantities import Resolutions

Named = TypeVar("Named", "str | None", "list[str] | None")


def bounded(kind: str) -> Callable[[int | None], int | None]:
    """A callback that refuses a number outside the bounds of that name, those of files (`files.bounds`)."""

    def check(value: int | None) -> int | None:
        from ponas_deploy.files import bounds

        if value is not None and (fault := bounds.fault(getattr(bounds, kind), value)):
            raise typer.BadParameter(fault)
        return value

    return check


def real_backends(backends: Named) -> Named:
    """The runtimes of an option; UnknownNameError for one that measures no machine, here or on a board."""
    if backends:
        from ponas_deploy.backends import registry

        for name in [backends] if isinstance(backends, str) else backends:
            if not registry.is_real(name):
                registry.real_entry(name)
    return backends


def open_precisions(precisions: list[str] | None) -> list[str] | None:
    """The precisions of an option; None for auto. A usage error for auto beside others."""
    from ponas_deploy.profiling.target import AUTO

    if not precisions or AUTO not in precisions:
        return precisions
    if set(precisions) != {AUTO}:
        raise typer.BadParameter(f"{AUTO} stands for all of them: name it alone.")
    return None


def own_name(space: str | None) -> str | None:
    """The name of a space as it is written, for one in capitals or not."""
    from searchspace.spaces import space_named

    return space_named(space) if space else space


def refuse_threads(threads: int, device: str = "cpu") -> None:
    """A usage error for more threads than this machine has processors, where `device` is this machine."""
    from ponas_deploy.machines.machine import threads_fault
    from ponas_deploy.profiling.target import Target

    if (fault := threads_fault(threads)) and Target(device).local:
        raise typer.BadParameter(fault, param_hint="--threads")


Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout.", rich_help_panel=EFFORT)
]

Arch: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="ARCH",
        autocompletion=completing.networks,
        show_default=False,
        help="A published name (PONAS-A, MobileNetV3-Large), a text form (k5e6,k5e3,...: one candidate a"
        " layer) or a file.",
    ),
]
_SPACE_HELP = (
    "The search space: ofa-mbv3, ofa-mbv3-w1.2, ponas, spos-shufflenet, spos-proxyless; or the name of a"
    " published network, such as MobileNetV3-Large."
)
SpaceName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--space",
        metavar="NAME",
        autocompletion=completing.spaces,
        show_default="that of the weights or the table that is named, else ofa-mbv3",
        callback=own_name,
        help=_SPACE_HELP,
        rich_help_panel=TABLES,
    ),
]
ArchSpace: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--space",
        metavar="NAME",
        autocompletion=completing.spaces,
        show_default="the one that ARCH is of",
        callback=own_name,
        help=_SPACE_HELP,
        rich_help_panel=TABLES,
    ),
]
Resolution: TypeAlias = Annotated[
    int,
    typer.Option(
        "--resolution",
        metavar="PX",
        min=1,
        callback=bounded("Resolution"),
        help="Side of the square input in pixels.",
        rich_help_panel=TABLES,
    ),
]
FileResolution: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--resolution",
        metavar="PX",
        min=1,
        callback=bounded("Resolution"),
        show_default="224, or what a file of ARCH says",
        help="Side of the square input in pixels.",
        rich_help_panel=TABLES,
    ),
]
Classes: TypeAlias = Annotated[
    int,
    typer.Option(
        "--classes",
        metavar="N",
        min=1,
        callback=bounded("Classes"),
        help="Number of classes the network tells apart.",
        rich_help_panel=TABLES,
    ),
]

Device: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        autocompletion=completing.devices,
        help="The device, see `ponas devices`.",
        rich_help_panel=DEVICE,
    ),
]
OneDevice: TypeAlias = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        autocompletion=completing.devices,
        help="cpu or gpu of this machine, or a board (`ponas devices`).",
        rich_help_panel=DEVICE,
    ),
]
Devices: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="NAME",
        autocompletion=completing.devices,
        help="A device, see `ponas devices`. May be repeated.",
        rich_help_panel=DEVICE,
    ),
]
Backends: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        autocompletion=completing.backends,
        callback=real_backends,
        help="A runtime: onnxruntime, openvino, tensorrt, ... May be repeated.",
        rich_help_panel=DEVICE,
    ),
]
Precisions: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        callback=open_precisions,
        help="A precision: fp32, bf16, fp16, int8, ... May be repeated. auto, as without it: the usual ones;"
        " specialize adds int8 where it can measure its loss. mixed: fp32 or int8 for each layer, named"
        " alone.",
        rich_help_panel=DEVICE,
    ),
]
Threads: TypeAlias = Annotated[
    int,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        callback=bounded("Threads"),
        help="Threads the runtime may use.",
        rich_help_panel=DEVICE,
    ),
]
Batch: TypeAlias = Annotated[
    int,
    typer.Option(
        "--batch",
        metavar="N",
        min=1,
        callback=bounded("Batch"),
        help="Images in one run.",
        rich_help_panel=DEVICE,
    ),
]
Force: TypeAlias = Annotated[
    bool, typer.Option("--force", help="Overwrite files that exist.", rich_help_panel=EFFORT)
]
Streams: TypeAlias = Annotated[
    int,
    typer.Option(
        "--streams",
        metavar="N",
        min=1,
        callback=bounded("Streams"),
        help="Runs that go on at once, each with its --threads: onnxruntime and openvino.",
        rich_help_panel=DEVICE,
    ),
]
Seed: TypeAlias = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="N",
        min=0,
        callback=bounded("Seed"),
        help="Seed of the random generator.",
        rich_help_panel=EFFORT,
    ),
]

Table: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        autocompletion=completing.tables,
        show_default=False,
        help="A table: JSON, CSV, or the name of a stored or shipped one.",
    ),
]
AccuracyTableFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--accuracy-table",
        metavar="FILE",
        autocompletion=completing.accuracy_tables,
        show_default="the space's own",
        help="An accuracy table: JSON, CSV (layer,candidate,loss_pp or top1_pct) or a stored name.",
        rich_help_panel=TABLES,
    ),
]
AccuracyTableFiles: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--accuracy-table",
        metavar="FILE",
        autocompletion=completing.accuracy_tables,
        show_default="the space's own",
        help="An accuracy table: JSON, CSV or a stored name. May be repeated: one a resolution.",
        rich_help_panel=TABLES,
    ),
]
Estimate: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--estimate",
        metavar="BOARD",
        autocompletion=completing.figures,
        help="Measure nothing: estimate by the published figures of a board (orin-nano, pi-5, ...), or of a"
        " processor of 4 cores, 2.4 GHz, 16 FLOPs a cycle and 17.1 GB/s (4x2.4x16@17.1).",
        rich_help_panel=TABLES,
    ),
]
ScaleBy: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--scale-by",
        metavar="FILE",
        autocompletion=completing.latency_tables,
        show_default="a measured table of the device, where there is one",
        help="What was measured on the device and scales --estimate: a latency table, or a CSV of networks.",
        rich_help_panel=TABLES,
    ),
]
ProfileTime: TypeAlias = Annotated[
    float,
    typer.Option(
        "--time",
        metavar="TIME",
        parser=quantities.parse_profile_time,
        help="Time for each table (20s, 2min, or seconds); more time, tighter intervals.",
        rich_help_panel=EFFORT,
    ),
]

EngineResolution: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="PX",
        min=1,
        callback=bounded("Resolution"),
        help="Input side; default 224, or that of --weights.",
        rich_help_panel=TABLES,
    ),
]
SeveralResolutions: TypeAlias = Annotated[
    Resolutions | None,
    typer.Option(
        "--resolution",
        metavar="PX[,PX...]|auto",
        parser=quantities.parse_resolutions,
        help="Input sides to search: 192, or 160,192,224, or auto; default 224, or that of --weights.",
        rich_help_panel=TABLES,
    ),
]
ProfileResolutions: TypeAlias = Annotated[
    Resolutions | None,
    typer.Option(
        "--resolution",
        metavar="PX[,PX...]",
        parser=quantities.parse_resolutions,
        show_default="224",
        help="Input side in pixels; of several (160,192,224) a table each, which share --time.",
        rich_help_panel=TABLES,
    ),
]
EngineClasses: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        callback=bounded("Classes"),
        help="Classes; default 1000, or those of --weights.",
        rich_help_panel=TABLES,
    ),
]
Weights: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Trained weights (safetensors, .pth) to carry; else random ones.",
        rich_help_panel=IMAGES,
    ),
]
WeightsData: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The data set of --weights, where the file does not say it.",
        rich_help_panel=IMAGES,
    ),
]
ScaleImages: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="FILE|FOLDER",
        show_default="training images of --data",
        help="Images for the scales of int8: a folder of images, or a .npy file, (count, 3, PX, PX) float32"
        " as the network wants.",
        rich_help_panel=IMAGES,
    ),
]
Finetune: TypeAlias = Annotated[
    int,
    typer.Option(
        metavar="EPOCHS",
        min=0,
        callback=bounded("Epochs"),
        help="Fine-tune the inherited weights so many epochs.",
        rich_help_panel=IMAGES,
    ),
]


OpenSizes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--size",
        metavar="NAME=N",
        help="A size that an ONNX model leaves open. May be repeated.",
        rich_help_panel=IMAGES,
    ),
]


def open_sizes(given: list[str] | None) -> dict[str, int]:
    """Sizes by name of `NAME=N`; a usage error for anything else."""
    found = {}
    for text in given or ():
        name, _, number = text.rpartition("=")
        if not name or not number.isdecimal() or int(number) < 1:
            raise typer.BadParameter(
                f"'{text}' is not NAME=N with a whole number above zero.", param_hint="--size"
            )
        found[name] = int(number)
    return found
