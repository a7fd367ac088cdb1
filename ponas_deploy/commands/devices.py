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
    from ponas_deploy.profiling.inventory import Runtime, known_devices, runtimes
    from ponas_deploy.tables import store

    here, found, gpu = this_machine(), known_devices(), this_gpu()
    on_gpu = runtimes(on_gpu=True) if gpu else ()

    def described(some: tuple[Runtime, ...]) -> dict[str, object]:
        return {r.backend: {"precisions": list(r.precisions), "problem": r.problem} for r in some}

    problems = [str(problem) for problem in store.latency_tables()[1]]
    if json:
        print_json(
            {
                "this_machine": {
                    "name": here.name,
                    **dict(here.environment()),
                    "runtimes": described(runtimes()),
                },
                "gpu": {"name": gpu, "runtimes": described(on_gpu)} if gpu else None,
                "devices": {
                    device: [{"table": t.name, "shipped": t.shipped, "made_on": t.made_on} for t in tables]
                    for device, tables in found.items()
                },
                "store": str(home()),
                "unreadable": problems,
            }
        )
        return
    from ponas_deploy.commands.reports.devices import devices_report

    show(*devices_report(here, runtimes(), (gpu, on_gpu), found, home(), problems))
