"""`ponas doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from ponas_deploy.commands.options import Json
from ponas_deploy.commands.output import note, print_json, show


def doctor(
    backend: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default="the first installed", help="The runtime to measure with."),
    ] = None,
    json: Json = False,
) -> None:
    """Say what makes this machine a good or a bad place to measure, and what to do about it.

    Looks for a second at what else uses the cores (other processes, load, a hypervisor, a container's quota)
    and at clocks, heat, power and memory, then measures the noise floor with small networks: between rounds
    of one process, which is what a table can reach, and between fresh processes, which is what an engine can
    promise. About six seconds.

    \b
    Examples:
      ponas doctor
      ponas doctor --backend openvino --json
    """
    from ponas_deploy.checks.machine import doctor_document, examine
    from ponas_deploy.checks.steadiness import steadiness
    from ponas_deploy.checks.vitals import read_vitals
    from ponas_deploy.errors import MeasurementError
    from ponas_deploy.profiling.inventory import runtimes

    vitals, here = read_vitals(), runtimes()
    chosen = backend or next((one.backend for one in here if not one.problem), None)
    steady = None
    if chosen:
        try:
            steady = steadiness(chosen)
        except MeasurementError as error:
            note(f"the noise floor is not measured: {error}")
    found = examine(vitals, steady, here)
    if json:
        print_json(doctor_document(vitals, steady, found))
        return
    from ponas_deploy.commands.reports.doctor import doctor_report

    show(doctor_report(vitals.machine.name, found))
