"""The options that several commands share, each written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, get_type_hints

import typer

from ponas_deploy.commands import quantities
from ponas_deploy.commands.quantities import Resolutions

if TYPE_CHECKING:
    from ponas_deploy.search.costs import CostColumn, Rate
    from ponas_deploy.search.notation import Limit


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


Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]

Arch: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="ARCH",
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
        show_default="that of the weights or the table that is named, else ofa-mbv3",
        callback=own_name,
        help=_SPACE_HELP,
    ),
]
ArchSpace: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--space",
        metavar="NAME",
        show_default="the one that ARCH is of",
        callback=own_name,
        help=_SPACE_HELP,
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
    ),
]

Device: TypeAlias = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="The device, see `ponas devices`.")
]
OneDevice: TypeAlias = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", help="cpu or gpu of this machine, or a board (`ponas devices`)."
    ),
]
Devices: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--device", metavar="NAME", help="A device, see `ponas devices`. May be repeated."),
]
Backends: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        callback=real_backends,
        help="A runtime: onnxruntime, openvino, tensorrt, ... May be repeated.",
    ),
]
Precisions: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--precision", metavar="NAME", help="A precision: fp32, bf16, fp16, ... May be repeated."),
]
Threads: TypeAlias = Annotated[
    int,
    typer.Option(
        "--threads", metavar="N", min=1, callback=bounded("Threads"), help="Threads the runtime may use."
    ),
]
Batch: TypeAlias = Annotated[
    int, typer.Option("--batch", metavar="N", min=1, callback=bounded("Batch"), help="Images in one run.")
]
Streams: TypeAlias = Annotated[
    int,
    typer.Option(
        "--streams",
        metavar="N",
        min=1,
        callback=bounded("Streams"),
        help="Runs that go on at once, each with its --threads: onnxruntime and openvino.",
    ),
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
Seed: TypeAlias = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", min=0, callback=bounded("Seed"), help="Seed of the random generator."
    ),
]

Table: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        show_default=False,
        help="A table: JSON, CSV, or the name of a stored or shipped one.",
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
AccuracyTableFiles: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--accuracy-table",
        metavar="FILE",
        show_default="the space's own",
        help="An accuracy table: JSON, CSV or a stored name. May be repeated: one a resolution.",
    ),
]
Estimate: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--estimate",
        metavar="BOARD",
        help="Measure nothing: estimate by the published figures of a board (orin-nano, pi-5, ...), or of a"
        " processor of 4 cores, 2.4 GHz, 16 FLOPs a cycle and 17.1 GB/s (4x2.4x16@17.1).",
    ),
]
ScaleBy: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--scale-by",
        metavar="FILE",
        show_default="a measured table of the device, where there is one",
        help="What was measured on the device and scales --estimate: a latency table, or a CSV of networks.",
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

EngineResolution: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="PX",
        min=1,
        callback=bounded("Resolution"),
        help="Input side; default 224, or that of --weights.",
    ),
]
SeveralResolutions: TypeAlias = Annotated[
    Resolutions | None,
    typer.Option(
        "--resolution",
        metavar="PX[,PX...]|auto",
        parser=quantities.parse_resolutions,
        help="Input sides to search: 192, or 160,192,224, or auto; default 224, or that of --weights.",
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
    ),
]
EngineClasses: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, callback=bounded("Classes"), help="Classes; default 1000, or those of --weights."
    ),
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
        metavar="FILE|FOLDER",
        show_default="training images of --data",
        help="Images for the scales of int8: a folder of images, or a .npy file, (count, 3, PX, PX) float32"
        " as the network wants.",
    ),
]
Finetune: TypeAlias = Annotated[
    int,
    typer.Option(
        metavar="EPOCHS",
        min=0,
        callback=bounded("Epochs"),
        help="Fine-tune the inherited weights so many epochs.",
    ),
]


OpenSizes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--size", metavar="NAME=N", help="A size that an ONNX model leaves open. May be repeated."),
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


Limits: TypeAlias = Mapping[str, "Limit"]
"""The limits that were asked for, by the names of the cost columns."""
OwnLimits: TypeAlias = Mapping[str, Limits]
"""Those of single devices, by the devices' names."""


@dataclass(frozen=True, slots=True)
class OfDevice:
    """A limit, and the device that it is for; empty for all of them."""

    limit: Limit
    device: str = ""


def with_limits(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for the limit of each cost in place of `limits: Limits, own: OwnLimits`.

    The options are the rows of `search.costs.COSTS`, in their order, and the rates behind that of the
    latency, which they stand for. What depends on the device may be limited for one of several (`a=20ms`):
    those are the command's `own`. That file loads nothing heavy, which `ponas --help` must not wait for.
    """
    from ponas_deploy.search.costs import COSTS, LATENCY, LATENCY_RATES
    from ponas_deploy.search.notation import Limit

    hints = get_type_hints(command, localns={"Limit": Limit}, include_extras=True)
    given = dict(signature(command).parameters)
    del given["limits"], given["own"]
    columns: dict[str, CostColumn | Rate] = {}
    for column in COSTS:
        columns[column.keyword] = column
        if column is LATENCY:
            columns.update((rate.keyword, rate) for rate in LATENCY_RATES)
    options = {
        name: Annotated[list[OfDevice] | None, _own_limit_option(column)]
        if _is_on_device(column)
        else Annotated[Limit | None, _limit_option(column)]
        for name, column in columns.items()
    }

    @wraps(command)
    def with_options(**arguments: Any) -> None:
        asked = {name: arguments.pop(name) for name in columns}
        limits, own = _by_device(asked)
        command(limits=limits, own=own, **arguments)

    with_options.__annotations__ = {**options, **{name: hints[name] for name in given}, "return": None}
    with_options.__signature__ = Signature(  # type: ignore[attr-defined]
        [
            *(
                Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
                for name, annotation in options.items()
            ),
            *(one.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[one.name]) for one in given.values()),
        ]
    )
    return with_options


def _by_device(asked: Mapping[str, Any]) -> tuple[Limits, OwnLimits]:
    """The limits for all devices and those of single ones, the last of each; a usage error as `_limits`."""
    found: dict[str, dict[str, Limit]] = {"": {}}
    for name, given in asked.items():
        for one in given if isinstance(given, list) else [OfDevice(given)] if given is not None else []:
            found.setdefault(one.device, {})[name] = one.limit
    common = _limits(found.pop(""))
    return common, {device: _limits(limits) for device, limits in found.items()}


def _limits(asked: Mapping[str, Limit]) -> Limits:
    """By column; a usage error for two limits on one."""
    from ponas_deploy.search.costs import limits_of
    from searchspace.errors import PonasError

    try:
        return limits_of(asked)
    except PonasError as error:
        raise typer.BadParameter(str(error)) from error


def _is_on_device(column: CostColumn | Rate) -> bool:
    from ponas_deploy.search.costs import CostColumn

    return (column if isinstance(column, CostColumn) else column.column).on_device


def _limit_option(column: CostColumn | Rate) -> Any:
    parser = quantities.limit_parser(column.notation)
    return typer.Option(column.option, metavar=column.metavar, parser=parser, help=column.help)


def _own_limit_option(column: CostColumn | Rate) -> Any:
    """The option of a limit that may be one device's, and be repeated."""
    parse = quantities.limit_parser(column.notation)

    def parser(text: str | OfDevice) -> OfDevice:
        if isinstance(text, OfDevice):
            return text  # typer parses what it parsed again
        device, _, limit = text.rpartition("=")
        return OfDevice(parse(limit), device.strip())

    help_text = f"{column.help} DEVICE={column.metavar} for one of several --device."
    return typer.Option(column.option, metavar=column.metavar, parser=parser, help=help_text)
