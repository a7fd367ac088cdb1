"""What `ponas specialize --device` does when its options are understood: engines made and shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ponas_deploy.commands.boundary import CANNOT_BE_TOLD
from ponas_deploy.commands.limits import OwnLimits
from ponas_deploy.commands.output import print_json, show

if TYPE_CHECKING:
    from ponas_deploy.engines.wanted import Deployment
    from ponas_deploy.profiling.target import Target


def make_one(asked: Deployment, target: Target, said: tuple[str, str], json: bool) -> None:
    """One device: the engine, and exit code 3 where nobody can tell whether it meets its budget."""
    from ponas_deploy.engines.deployment import deploy_one
    from ponas_deploy.engines.loop import engine_document

    engine = deploy_one(asked, target)
    if json:
        print_json(engine_document(engine.manifest, engine.folder))
    else:
        from ponas_deploy.commands.reports.engine import engine_report

        show(engine_report(engine, *said))
    if engine.manifest.not_told:
        raise typer.Exit(CANNOT_BE_TOLD)


def make_several(
    asked: Deployment,
    targets: Sequence[Target],
    own: OwnLimits,
    robust: bool,
    said: tuple[str, str],
    json: bool,
) -> None:
    """Several devices: an engine for each, of one network where it shall be `robust`.

    Where some devices failed, the engines of the others are shown before that is said.
    """
    from ponas_deploy.engines.fleet import FleetError, deploy_fleet

    failed: FleetError | None = None
    try:
        fleet = deploy_fleet(asked, targets, robust=robust, budgets=own)
    except FleetError as error:
        if not error.fleet.engines:
            raise
        fleet, failed = error.fleet, error
    if json:
        from ponas_deploy.commands.documents.fleet import fleet_document

        print_json(fleet_document(fleet))
    else:
        from ponas_deploy.commands.reports.engine import engine_report
        from ponas_deploy.commands.reports.fleet import sharing_report

        show(*(engine_report(engine, *said) for engine in fleet.engines))
        if fleet.shared:
            show(sharing_report(fleet.shared))
    if failed:
        raise failed
    if any(engine.manifest.not_told for engine in fleet.engines):
        raise typer.Exit(CANNOT_BE_TOLD)


def default_folder(targets: Sequence[Target], limits: Iterable[str]) -> Path:
    """`engines/jetson-20-ms`; of several devices `engines/jetson-pi-20-ms`."""
    from ponas_deploy.machines.names import slug

    devices = "-".join(one.device_name for one in targets)
    return Path("engines") / f"{devices}-{slug('-'.join(limits).replace('.', 'p'))}"
