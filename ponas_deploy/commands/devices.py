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
    from ponas_deploy.profiling.devices import inventory

    found = inventory()
    if json:
        from ponas_deploy.commands.documents.devices import devices_document

        print_json(devices_document(found))
        return
    from ponas_deploy.commands.reports.devices import devices_report

    show(*devices_report(found))
