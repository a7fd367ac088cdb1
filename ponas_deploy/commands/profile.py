"""`ponas profile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponas_deploy.commands.options import (
    AccuracyTableFile,
    Backends,
    Batch,
    Classes,
    Force,
    Json,
    Precisions,
    ProfileTime,
    Resolution,
    Seed,
    SpaceName,
    Threads,
)
from ponas_deploy.commands.output import note, print_json, show

if TYPE_CHECKING:
    from ponas_deploy.tables import AccuracyTable
    from ponas_deploy.tables.store import StoredTable


def profile(
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="cpu or gpu of this machine. A device is profiled where it stands."
        ),
    ] = "cpu",
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What to call this machine in its tables (jetson, lab-pi, ...)."),
    ] = None,
    backend: Backends = None,
    precision: Precisions = None,
    threads: Threads = 1,
    batch: Batch = 1,
    space: SpaceName = None,
    resolution: Resolution = 224,
    classes: Classes = 1000,
    time: ProfileTime = 75.0,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Another device's or runtime's latency table: only whole networks are timed, to fit it.",
        ),
    ] = None,
    measurements: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            show_default="24",
            help="Networks to fit the prior on, 10 to 50; 12 or more certify it.",
        ),
    ] = None,
    accuracy_table: AccuracyTableFile = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the tables here instead of your store.")
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Measure this machine: every candidate block on every layer shape, into certified latency tables.

    One table for each runtime and precision. Whole networks are timed too: some correct the table, others
    certify it. In little time (--time 20s) the cells that the Pareto front can contain and the networks get
    most of it. The same command again goes on: with a profile that was interrupted where it stopped, with a
    table that ran out of time by adding rounds and networks to it (--force measures it anew).

    With --prior no block is timed: another device's table is fitted on a few whole networks timed here, and
    certified on others. That suits runtimes that take seconds to build each model.

    \b
    Examples:
      ponas profile --device cpu
      ponas profile --device cpu --backend openvino --precision bf16 --threads 2
      ponas profile --device cpu --name jetson --out tables/
      ponas profile --device cpu --time 20s
      ponas profile --device gpu --backend tensorrt --precision fp16
      ponas profile --backend onnxruntime --prior amd-epyc-2c/openvino-bf16-t1-b1-ponas-224px-1000c
    """
    from dataclasses import replace

    from ponas_deploy.commands.architectures import DEFAULT_SPACE
    from ponas_deploy.commands.profiling import accuracy_of, profile_with_bar, to_go_on
    from ponas_deploy.errors import PonasError
    from ponas_deploy.profiling.inventory import Target, missing
    from ponas_deploy.profiling.prior import NETWORKS, load_prior
    from ponas_deploy.tables import SpaceKey, load_accuracy_table, store
    from ponas_deploy.tables.store import latency_path
    from searchspace import build_space

    if measurements is not None and prior is None:
        raise typer.BadParameter("--measurements counts networks for a prior: name one with --prior.")

    built = build_space(space or DEFAULT_SPACE, resolution, classes)
    target = Target(device, built, tuple(backend or ()), tuple(precision or ()), threads, batch)
    if not target.local:
        raise PonasError(f"'{device}' is not this machine: run `ponas profile --device cpu` (or gpu) on it.")
    paths = {}
    for conditions in missing(target, ()):
        named = replace(conditions, device=name or conditions.device)
        path = latency_path(named, SpaceKey.of(built))
        paths[named] = out / path.name if out else path
    other = store.find_table(prior) if prior else None
    accuracy = accuracy_of(built, accuracy_table)
    if other:
        known = load_prior(other, measurements or NETWORKS)
        known.grid(built)
    made = []
    for named, path in paths.items():
        found, further = (None, False) if force else to_go_on(path, from_prior=other is not None)
        if found:
            made.append(found)
            continue
        if other:
            known.refuse_same(named, built)
        made.append(
            profile_with_bar(
                named,
                built,
                time,
                path=path,
                overwrite=force,
                further=further,
                accuracy=accuracy,
                prior=other,
                networks=measurements,
                seed=seed,
            )
        )
    judge = load_accuracy_table(accuracy) if accuracy else None
    for stored in made:
        note(_reached(stored, judge))
    if json:
        print_json({"tables": [_document(stored, judge) for stored in made]})
        return
    from ponas_deploy.commands.reports.profile import profile_report

    show(profile_report(made))


def _reached(stored: StoredTable, accuracy: AccuracyTable | None) -> str:
    """How exact a table is, and what may make it more so."""
    from ponas_deploy.profiling.precision import precision_of

    said = dict(stored.table.protocol)
    more = "; the same command again goes on with it" if said.get("stopped_by") == "time" else ""
    doubt = f". {said['prior_doubt']}" if "prior_doubt" in said else ""
    return f"{stored.conditions.text}: {precision_of(stored.table, accuracy).text}{more}{doubt}"


def _document(stored: StoredTable, accuracy: AccuracyTable | None) -> dict[str, object]:
    from dataclasses import asdict

    from ponas_deploy.profiling.precision import precision_of

    certificate, said = stored.table.certificate, dict(stored.table.protocol)
    return {
        "path": str(stored.path),
        "name": stored.name,
        "conditions": stored.conditions.document(),
        "statistic": stored.table.statistic,
        "stopped_by": said.get("stopped_by"),
        "reached": asdict(precision_of(stored.table, accuracy)),
        "unsettled": len(stored.table.unsettled),
        "prior": {name: text for name, text in said.items() if name.startswith("prior")} or None,
        "mean_error_pct": certificate and certificate.mean_error_pct,
        "error_bound_pct": certificate and certificate.error_bound_pct,
        "worst_error_pct": certificate and certificate.worst_error_pct,
        "isolated_mean_error_pct": certificate and certificate.isolated_mean_error_pct,
        "kendall_tau": certificate and certificate.kendall_tau,
        "noise_floor_pct": certificate and certificate.noise_floor_pct,
        "noise_tau": certificate and certificate.noise_tau,
    }
