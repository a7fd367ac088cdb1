"""`ponas doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from ponas_deploy.commands import completing
from ponas_deploy.commands.options import Json, OneDevice, real_backends
from ponas_deploy.commands.output import note, print_json, show


def doctor(
    device: OneDevice = "cpu",
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completing.backends,
            callback=real_backends,
            show_default="the first installed",
            help="The runtime to measure with.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Say what makes this machine, or a board, a good or a bad place to measure, and what to do about it.

    Reads for a second what else uses the cores (other processes, load, a hypervisor, a container's quota)
    and clocks, heat, power and memory, then measures the noise floor with small networks: between rounds
    of one process, which is what a table can reach, and between processes, which is what an engine can
    promise. About six seconds. Exit code 0 whatever it finds.

    \b
    Examples:
      ponas doctor
      ponas doctor --backend openvino --json
      ponas doctor --device jetson
    """
    from ponas_deploy.checks.machine import check_machine, doctor_document

    found = check_machine(backend, device, on_note=note)
    if found.not_measured:
        note(f"the noise floor is not measured: {found.not_measured}")
    if json:
        print_json(doctor_document(found))
        return
    from ponas_deploy.commands.reports.doctor import doctor_report

    show(doctor_report(found))
