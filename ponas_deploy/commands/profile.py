"""`ponas profile`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponas_deploy.commands import completing, quantities
from ponas_deploy.commands.help_text import DEVICE, EFFORT, TABLES
from ponas_deploy.commands.options import (
    AccuracyTableFile,
    Backends,
    Batch,
    Classes,
    Estimate,
    Force,
    Json,
    Precisions,
    ProfileResolutions,
    ProfileTime,
    ScaleBy,
    Seed,
    SpaceName,
    Streams,
    Threads,
    refuse_threads,
)
from ponas_deploy.commands.output import note, print_json, show

if TYPE_CHECKING:
    from ponas_deploy.commands.quantities import Resolutions
    from ponas_deploy.tables.accuracy import AccuracyTable
    from ponas_deploy.tables.store import StoredTable


def profile(
    device: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completing.devices,
            show_default="cpu, or the board of --estimate",
            help="cpu or gpu of this machine, or a board (`ponas devices add`). May be repeated.",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What to call this machine in its tables (jetson, lab-pi, ...).",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    backend: Backends = None,
    precision: Precisions = None,
    threads: Threads = 1,
    batch: Batch = 1,
    streams: Streams = 1,
    space: SpaceName = None,
    resolution: ProfileResolutions = None,
    classes: Classes = 1000,
    time: ProfileTime = 75.0,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            autocompletion=completing.latency_tables,
            help="Another device's or runtime's latency table: only whole networks are timed, to fit it.",
            rich_help_panel=TABLES,
        ),
    ] = None,
    measurements: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            show_default="24",
            help="Networks to fit the prior on, 10 to 50; 12 or more certify it.",
            rich_help_panel=TABLES,
        ),
    ] = None,
    estimate: Estimate = None,
    scale_by: ScaleBy = None,
    result: Annotated[
        Path | None,
        typer.Option(
            "--import",
            metavar="RESULT",
            help="Measure nothing: make the tables of what an archive of `ponas bundle` wrote on a board.",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    accuracy_table: AccuracyTableFile = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write the tables here instead of your store.", rich_help_panel=EFFORT
        ),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Measure a machine: every candidate block on every layer shape, into certified latency tables.

    The machine is this one (cpu, gpu) or a board of `ponas devices`, which measures over its link.

    One table for each runtime and precision; and for each resolution where --resolution names several, which
    share --time. Whole networks are timed too: some correct the table, others
    certify it. In little time (--time 20s) the cells that the Pareto front can contain and the networks get
    most of it. The same command again goes on: with a profile that was interrupted where it stopped, with a
    table that ran out of time by adding rounds and networks to it (--force measures it again).

    A slow machine takes longer than --time, because a certificate needs some rounds and networks: that is
    said before it does. It takes at most four times as long, or five minutes more, and stops where it would
    need more than that. When most rounds were disturbed by other work, it goes on for up to half of --time
    again, to take them once more in the gaps.

    With --prior no block is timed: another device's table is fitted on a few whole networks timed here, and
    certified on others; so is a mixture with the other stored tables where that predicts held-out networks
    of here better. That suits runtimes that take seconds to build each model.

    Several --device are profiled in one go: boards at the same time, this machine alone after them. All
    boards are connected to first, so that passwords are asked for at the beginning. Where a device fails,
    what the others measured is kept, and exit code 1 says so at the end.

    With --estimate nothing is measured: a table is made of a board's published figures, for a device that is
    not at hand. It says so wherever it is used, how far it may be off, and never counts as measured.

    With --import the tables come from the file that an archive of `ponas bundle` wrote on a board; --name
    says what to call that, where its own name does not do.

    \b
    Examples:
      ponas profile --device cpu
      ponas profile --device cpu --backend openvino --precision bf16 --threads 2
      ponas profile --device cpu --name jetson --out tables/
      ponas profile --device jetson --backend tensorrt --precision fp16
      ponas profile --device cpu --time 20s
      ponas profile --device cpu --space ofa-mbv3 --resolution 160,192,224 \\
        --time 3min
      ponas profile --device gpu --backend tensorrt --precision fp16
      ponas profile --device jetson --device pi --space ponas --time 3min
      ponas profile --device jetson --estimate orin-nano --precision fp16
      ponas profile --import ponas-result-pi-5-0123456789ab.zip --name pi
      ponas profile --backend onnxruntime \\
        --prior amd-epyc-2c/openvino-bf16-t1-b1-ponas-224px-1000c
    """
    from ponas_deploy.commands.progress_table import progress_table
    from ponas_deploy.profiling.mixed import all_with_precisions
    from ponas_deploy.profiling.tables import ProfileOptions, accuracy_of
    from ponas_deploy.profiling.target import Target
    from ponas_deploy.profiling.together import ProfilesError, profile_devices
    from ponas_deploy.tables.architectures import usual_resolution
    from ponas_deploy.tables.chosen_space import chosen_space
    from ponas_deploy.tables.files import load_accuracy_table
    from ponas_deploy.tables.named import named_tables
    from ponas_deploy.tables.resolutions import spaces_at
    from searchspace import build_space
    from searchspace.mixed import is_mixed

    if measurements is not None and prior is None:
        raise typer.BadParameter("--measurements counts networks for a prior: name one with --prior.")
    _refuse_beside_estimate(estimate, scale_by, prior, backend, name)
    if result:
        _refuse_beside_import(device, backend, precision, space, resolution, prior, estimate)
        _import(result, name, out, accuracy_table, force=force, json=json)
        return
    devices = device or [estimate or "cpu"]
    if len(devices) > 1 and (one := "--estimate" if estimate else "--name" if name else ""):
        raise typer.BadParameter(f"{one}: of one device, name a single --device.")
    for each in devices:
        refuse_threads(threads * streams, each)
    if resolution and not resolution.px:
        raise typer.BadParameter("auto is for a search: name the resolutions to profile.")
    chosen = chosen_space(space, tables=named_tables(prior, accuracy_table))
    px = resolution.px if resolution else (usual_resolution(chosen.name),)
    spaces, targets = all_with_precisions(
        spaces_at(build_space(chosen.name, px[0], classes), px),
        [Target(each, backend or (), precision or (), threads, batch, streams=streams) for each in devices],
    )
    if estimate and is_mixed(spaces[0].name):
        raise typer.BadParameter("--estimate knows no mixed precision: it is measured.")
    share = max(time / len(spaces), quantities.LEAST_PROFILE_S)
    options = ProfileOptions(
        share, name or "", out, accuracy_table, prior, measurements, overwrite=force, seed=seed
    )
    note(f"search space {chosen.text}")
    if estimate:
        from ponas_deploy.profiling.estimates import estimate_tables

        estimated = estimate_tables(targets[0], spaces, estimate, scale_by=scale_by, out=out, on_note=note)
        _print(estimated, None, json)
        return
    failed: ProfilesError | None = None
    with progress_table() as on_progress:
        try:
            made = profile_devices(targets, spaces, options, on_note=note, on_progress=on_progress)
        except ProfilesError as error:
            if not error.tables:
                raise
            made, failed = error.tables, error
    found = accuracy_of(spaces[0], accuracy_table)
    accuracy = load_accuracy_table(found) if found else None
    for stored in made:
        note(_precision(stored, accuracy))
    _print(made, accuracy, json)
    if failed:
        raise failed


def _refuse_beside_estimate(
    estimate: str | None, scale_by: str | None, prior: str | None, backend: list[str] | None, name: str | None
) -> None:
    """A usage error for options that an estimate has no use for, or that have none without one."""
    if scale_by and not estimate:
        raise typer.BadParameter("--scale-by scales an estimate: name a board with --estimate.")
    idle = {"--prior": prior, "--backend": backend, "--name": name}
    if estimate and (given := [option for option, value in idle.items() if value]):
        raise typer.BadParameter(f"{', '.join(given)}: not with --estimate, which measures nothing here.")


def _refuse_beside_import(
    device: list[str] | None,
    backend: list[str] | None,
    precision: list[str] | None,
    space: str | None,
    resolution: Resolutions | None,
    prior: str | None,
    estimate: str | None,
) -> None:
    """A usage error for options that say what the bundle says already."""
    idle = {
        "--device": device,
        "--backend": backend,
        "--precision": precision,
        "--space": space,
        "--resolution": resolution,
        "--prior": prior,
        "--estimate": estimate,
    }
    if given := [option for option, value in idle.items() if value]:
        raise typer.BadParameter(
            f"{', '.join(given)}: not with --import, whose bundle says what was measured."
        )


def _import(
    result: Path, name: str | None, out: Path | None, accuracy_table: str | None, *, force: bool, json: bool
) -> None:
    """Make and print the tables of a bundle's result."""
    from ponas_deploy.profiling.bundle_result import import_result
    from ponas_deploy.profiling.tables import accuracy_of
    from ponas_deploy.tables.files import load_accuracy_table
    from searchspace import build_space

    made = import_result(result, name=name or "", out=out, overwrite=force, on_note=note)
    key = made[0].table.space
    found = accuracy_of(build_space(key.name), accuracy_table) if key else None
    accuracy = load_accuracy_table(found) if found else None
    for stored in made:
        note(_precision(stored, accuracy, here=False))
    _print(made, accuracy, json)


def _print(made: Sequence[StoredTable], accuracy: AccuracyTable | None, json: bool) -> None:
    if json:
        from ponas_deploy.commands.documents.profile import profile_document

        print_json(profile_document(made, accuracy))
        return
    from ponas_deploy.commands.reports.profile import profile_report

    show(profile_report(made))


def _precision(stored: StoredTable, accuracy: AccuracyTable | None, *, here: bool = True) -> str:
    """How exact a table is, and what may make it more so."""
    from ponas_deploy.profiling.precision import precision_of

    protocol = stored.table.protocol
    goes_on = here and protocol.stopped_by == "time"
    more = "; the same command again goes on with it" if goes_on else ""
    finding = f". {protocol.prior.finding}" if protocol.prior and protocol.prior.finding else ""
    mixed = protocol.prior.mixed if protocol.prior else {}
    shares = ", ".join(f"{100 * share:.0f} % {name}" for name, share in mixed.items())
    prior = f". What predicted the networks of here best as a prior: {shares}" if shares else ""
    key = stored.table.space
    where = f", {key.resolution} px" if key else ""
    return (
        f"{stored.conditions.text}{where}: {precision_of(stored.table, accuracy).text}{more}{prior}{finding}"
    )
