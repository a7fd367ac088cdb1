"""`ponas compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ponas_deploy.commands import completing, quantities
from ponas_deploy.commands.help_text import BUDGET, EFFORT, IMAGES, TABLES
from ponas_deploy.commands.options import (
    AccuracyTableFiles,
    Backends,
    Batch,
    Devices,
    EngineClasses,
    Json,
    OpenSizes,
    Precisions,
    SeveralResolutions,
    Threads,
    open_sizes,
    own_name,
    refuse_threads,
)
from ponas_deploy.commands.output import note, print_json, show

if TYPE_CHECKING:
    from ponas_deploy.engines.compared import Comparison
    from ponas_deploy.search.notation import Limit
    from ponas_deploy.tables.latency import LatencyTable
    from searchspace.space import Space

_MEASURED_SPACE = "ofa-mbv3"
"""Its predicted top-1 is ImageNet's, as the published ones are."""
_BUDGETS = 5


def compare(
    archs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARCH...",
            autocompletion=completing.networks,
            show_default=False,
            help="Names, text forms or files of networks.",
        ),
    ] = None,
    latency_tables: Annotated[
        list[str] | None,
        typer.Option(
            "--latency-table",
            metavar="FILE",
            autocompletion=completing.latency_tables,
            help="Predict on a latency table: JSON, CSV or a stored name. May be repeated.",
            rich_help_panel=TABLES,
        ),
    ] = None,
    device: Devices = None,
    backend: Backends = None,
    precision: Precisions = None,
    threads: Threads = 1,
    batch: Batch = 1,
    space: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completing.spaces,
            callback=own_name,
            show_default=f"the table's; with --device that of ARCH, else {_MEASURED_SPACE}",
            help="The search space.",
            rich_help_panel=TABLES,
        ),
    ] = None,
    resolution: SeveralResolutions = None,
    classes: EngineClasses = None,
    accuracy_table: AccuracyTableFiles = None,
    latency: Annotated[
        str | None,
        typer.Option(
            metavar="TIME,...",
            help="Specialised networks for these budgets: 4ms,6ms,8ms.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    budgets: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=50,
            show_default=f"{_BUDGETS}, none with --latency",
            help="Specialised networks for so many budgets over the range of the front.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    stock: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completing.stock,
            show_default="all twenty",
            help="A stock network, or none. May be repeated.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    onnx: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="An ONNX model of yours. May be repeated.", rich_help_panel=IMAGES),
    ] = None,
    top1: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PERCENT",
            help="The ImageNet top-1 of each --onnx in turn; - where it is not known.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    size: OpenSizes = None,
    time: Annotated[
        float,
        typer.Option(
            metavar="TIME",
            parser=quantities.parse_duration,
            help="How long the networks of a runtime are timed.",
            rich_help_panel=EFFORT,
        ),
    ] = 60.0,
    json: Json = False,
) -> None:
    """Compare networks: predicted on latency tables, or measured with --device beside stock networks.

    With --latency-table given networks are predicted on each table, of any space; where the space is known,
    parameters and MACs stand beside.

    ARCH with --device of other devices predicts on the tables that they have, which may be named besides; it
    may be repeated.

    With --device of this machine (cpu, gpu), or of a board without ARCH, every network is built and timed
    there in the same rounds by the protocol of engines: twenty stock networks (the extra stock builds them;
    models once built are kept), --onnx models of yours, networks that you name (only here also published
    ones of any family, at the resolution of their top-1), and the best of the space within each budget by the
    device's latency table, which is made where it is missing. One table, the fastest first: measured
    latency, top-1, parameters, MACs, and who is on the front of all. A top-1 is published (with the recipe
    of its weights), given by you, or predicted: of inherited weights that were not fine-tuned. For each
    budget a sentence says what specialising gains over the best other network that is as fast. Latencies
    that differ by less than the noise floor are said to be not resolved; a gain within them or within the
    error of a prediction is not told. Every runtime of the processor at its first precision, unless
    --backend or --precision name some; one that fails is left out.

    \b
    Examples:
      ponas compare PONAS-A PONAS-C --latency-table ort.json \\
        --latency-table openvino.json
      ponas compare mine.txt PONAS-B --latency-table ort.json \\
        --accuracy-table acc.json --json
      ponas compare PONAS-A PONAS-C --device amd-epyc-2c --device intel-xeon-2c
      ponas compare --device cpu --backend openvino --precision bf16
      ponas compare --device jetson --stock none --onnx mine.onnx --latency 4ms
      ponas compare --device cpu --latency 4ms,6ms,8ms --onnx mine.onnx \\
        --top1 75.3
      ponas compare --device cpu --stock mobilenetv3_large_100 \\
        --stock hgnetv2_b0 --json
      ponas compare MobileNetV3-Large FBNet-C MobileNetV4-Conv-S --device cpu \\
        --stock none
    """
    measured = {
        "--backend": backend,
        "--precision": precision,
        "--threads": threads > 1,
        "--batch": batch > 1,
        "--latency": latency,
        "--budgets": budgets is not None,
        "--stock": stock,
        "--onnx": onnx,
        "--top1": top1,
        "--size": size,
    }
    devices = device or []
    if elsewhere := _elsewhere(devices, archs or []):
        for name in ("--backend", "--precision", "--threads", "--batch"):
            del measured[name]
    if not devices or elsewhere:
        where = "with --device of this machine, where" if devices else "with --device, where"
        if idle := [name for name, value in measured.items() if value]:
            raise typer.BadParameter(f"{', '.join(idle)}: only {where} networks are measured.")
        if resolution and resolution.one is None:
            raise typer.BadParameter(f"several of --resolution: only {where} they are searched.")
        if accuracy_table and len(accuracy_table) > 1:
            raise typer.BadParameter(f"several of --accuracy-table: only {where} each is of a resolution.")
        networks = space, resolution.one if resolution else None, classes
        files = list(latency_tables or ())
        if elsewhere:
            how = backend or (), precision or (), threads, batch
            files += _files_of_devices(devices, archs or [], networks, how)
        _predict(archs or [], files, networks, next(iter(accuracy_table or ()), None), json)
        return
    if latency_tables:
        raise typer.BadParameter("--latency-table predicts and --device measures: give one of them.")
    from ponas_deploy.tables import store
    from ponas_deploy.tables.architectures import (
        DEFAULT_RESOLUTION,
        architecture_in,
        named_by,
        resolution_of,
    )
    from ponas_deploy.tables.resolutions import AUTO
    from searchspace import build_space
    from searchspace.zoo import published_network

    for name in devices:
        refuse_threads(threads, name)
    known = [arch for arch in archs or () if published_network(arch)]
    archs = [arch for arch in archs or () if arch not in known]
    one = resolution_of(archs, space, resolution.px if resolution else None)
    one = one or (resolution.one if resolution else None)
    named = named_by(archs[0]).space if archs and not space else space
    built = build_space(named or _MEASURED_SPACE, one or DEFAULT_RESOLUTION, classes or 1000)
    limits = _latencies(latency)
    asked = {
        "budgets": budgets if budgets is not None else 0 if limits else _BUDGETS,
        "latencies": limits,
        "networks": {arch: architecture_in(arch, built).choices for arch in archs},
        "published": known,
        "stock": stock or None,
        "models": _models(onnx or [], top1 or []),
        "sizes": open_sizes(size),
        "resolutions": (resolution.px or AUTO) if resolution else None,
        "losses": [store.accuracy_table(name) for name in accuracy_table or ()],
        "seconds": time,
    }
    _measure(built, devices, (backend or (), precision or (), threads, batch), asked, json)


def _elsewhere(devices: Sequence[str], archs: Sequence[str]) -> bool:
    """Whether networks are predicted on the tables of devices, one of which is not this machine."""
    from ponas_deploy.profiling.target import Target

    return bool(archs) and any(not Target(name).local for name in devices)


def _files_of_devices(
    devices: Sequence[str],
    archs: Sequence[str],
    networks: tuple[str | None, int | None, int | None],
    how: tuple[Any, ...],
) -> list[str]:
    """The files of the tables that devices have of the networks' space."""
    from ponas_deploy.profiling.of_devices import tables_of_devices
    from ponas_deploy.profiling.target import Target
    from ponas_deploy.tables.architectures import named_by
    from searchspace import build_space

    name, resolution, classes = networks
    built = build_space(
        name or named_by(archs[0]).space or _MEASURED_SPACE, **({"classes": classes} if classes else {})
    )
    sides = (resolution,) if resolution else ()
    targets = [Target(one, *how) for one in devices]
    return [str(stored.path) for stored in tables_of_devices(targets, built, sides, note)]


def _measure(
    space: Space, devices: Sequence[str], how: tuple[Any, ...], asked: dict[str, Any], json: bool
) -> None:
    from ponas_deploy.commands.progress_table import bar_in, progress_table
    from ponas_deploy.commands.waiting import lines_of_a_build
    from ponas_deploy.engines.comparison import compare_networks
    from ponas_deploy.profiling.progress import of_device
    from ponas_deploy.profiling.target import Target

    found: list[Comparison] = []
    with progress_table() as on_progress:
        for target in (Target(device, *how) for device in devices):
            report = (of_device(target.device_name, on_progress) if len(devices) > 1 else None) or on_progress
            found += compare_networks(
                space,
                target,
                **asked,
                on_note=note,
                on_progress=report,
                on_build=lines_of_a_build(),
                open_bar=bar_in(report, "stock networks"),
            )
    if json:
        from ponas_deploy.engines.comparison_document import comparisons_document

        print_json(comparisons_document(found))
        return
    from ponas_deploy.commands.reports.comparison import measured_comparison_report

    show(*map(measured_comparison_report, found))


def _latencies(text: str | None) -> tuple[Limit, ...]:
    """Budgets apart by commas; a usage error for one that is none."""
    from ponas_deploy.search.notation import LATENCIES

    parse = quantities.limit_parser(LATENCIES)
    return tuple(parse(part.strip()) for part in text.split(",")) if text else ()


def _models(files: list[Path], top1: list[str]) -> dict[Path, float | None]:
    """Each model with its top-1; a usage error for more of those than models, and for no percentage."""
    if len(top1) > len(files):
        raise typer.BadParameter(
            f"{len(top1)} of --top1 for {len(files)} of --onnx: give one for each model, in their order."
        )
    values = [*map(_percent, top1), *[None] * (len(files) - len(top1))]
    return dict(zip(files, values, strict=True))


def _percent(text: str) -> float | None:
    if text == "-":
        return None
    try:
        value = float(text.rstrip("%"))
    except ValueError:
        value = -1.0
    if not 0 < value <= 100:
        raise typer.BadParameter(f"'{text}' is no percentage: write 75.3, or - where it is not known.")
    return value


def _predict(
    archs: list[str],
    latency_tables: list[str],
    asked: tuple[str | None, int | None, int | None],
    accuracy_table: str | None,
    json: bool,
) -> None:
    from ponas_deploy.search.predictions import predict_networks, predictions_document
    from ponas_deploy.search.specialize import counted_text
    from ponas_deploy.tables.accuracy_quality import top1_warnings
    from ponas_deploy.tables.architectures import architecture_in, read_choices, resolution_of
    from ponas_deploy.tables.files import load_accuracy_table
    from ponas_deploy.tables.named import read_latency_tables
    from ponas_deploy.tables.quality import table_warnings
    from ponas_deploy.tables.spaces import resolutions, space_of
    from ponas_deploy.tables.store import find_table
    from ponas_deploy.tables.units import table_doubt

    if not archs or not latency_tables:
        raise typer.BadParameter("name networks and a --latency-table to predict on, or --device to measure.")
    tables, names = read_latency_tables(latency_tables, note)
    built = _at_known_sizes(tables, *asked)
    if known := built or space_of(tables[0]):
        sizes = set(resolutions(tables)) or ({asked[1]} if asked[1] else None)
        resolution_of(archs, known.name, sorted(sizes) if sizes else None, "the latency tables are for")
    accuracy = load_accuracy_table(find_table(accuracy_table), note) if accuracy_table else None
    read = [
        (arch, architecture_in(arch, built).choices if built else read_choices(arch, tables[0]))
        for arch in archs
    ]
    networks = predict_networks(read, tables, accuracy, built)
    space, sized = built or space_of(tables[0]), all(asked[1:]) or any(table.space for table in tables)
    if networks[0].costs and space and not sized:
        note(counted_text([name for name, _ in networks[0].costs], space))
    warnings = table_warnings(dict(zip(names, tables, strict=True)), accuracy)
    losses_pp = [one.predicted_loss_pp for one in networks if one.predicted_loss_pp is not None]
    if accuracy and losses_pp:
        warnings = (*warnings, *top1_warnings(accuracy, losses_pp, resolutions(tables)))
    for name, table in zip(names, tables, strict=True):
        if doubt := table_doubt(table.grid):
            note(f"{name}: {doubt}")
    if json:
        print_json(predictions_document(networks, names, warnings))
        return
    from ponas_deploy.commands.reports.compare import compare_report
    from ponas_deploy.commands.reports.findings import warning_lines

    if warnings:
        show(warning_lines(warnings))
    show(compare_report(networks, names))


def _at_known_sizes(
    tables: Sequence[LatencyTable], name: str | None, resolution: int | None, classes: int | None
) -> Space | None:
    """The space that is asked for, at the sizes that are asked for or that any table says.

    None where the first table says all of it, or nothing does.
    """
    from ponas_deploy.tables.spaces import space_for, space_of

    said = next((table for table in tables if table.space), tables[0])
    if not (name or resolution or classes) and (said is tables[0] or space_of(tables[0]) is None):
        return None
    return space_for(said, name, resolution, classes)
