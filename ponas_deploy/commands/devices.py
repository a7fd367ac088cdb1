"""`ponas devices`."""

from __future__ import annotations

from ponas_deploy.commands.options import Json
from ponas_deploy.commands.output import print_json, show


def devices(json: Json = False) -> None:
    """List this machine with its GPU and runtimes, and every device that has a latency table.

    A table made elsewhere (`ponas profile --name jetson --out tables/`, there) becomes known when its
    file is copied into the folder `latency` of the store, whose place is shown.

    \b
    Example:
      ponas devices
    """
    from ponas_deploy.files.home import home
    from ponas_deploy.machines.gpu import this_gpu
    from ponas_deploy.machines.machine import this_machine
    from ponas_deploy.profiling.inventory import known_devices, runtimes
    from ponas_deploy.tables import store

    here, found, gpu = this_machine(), known_devices(), this_gpu()
    on_gpu = runtimes(on_gpu=True) if gpu else ()

    problems = [str(problem) for problem in store.latency_tables()[1]]
    if json:
        from ponas_deploy.commands.documents import devices_document

        print_json(devices_document(here, runtimes(), (gpu, on_gpu), found, home(), problems))
        return
    from ponas_deploy.commands.reports.devices import devices_report

    show(*devices_report(here, runtimes(), (gpu, on_gpu), found, home(), problems))
