"""`ponas describe`."""

from __future__ import annotations

from ponas_deploy.commands.options import Arch, ArchSpace, Classes, FileResolution, Json
from ponas_deploy.commands.output import print_json, show


def describe(
    arch: Arch,
    space: ArchSpace = None,
    resolution: FileResolution = None,
    classes: Classes = 1000,
    json: Json = False,
) -> None:
    """Show an architecture's layers, parameters and MACs.

    \b
    Examples:
      ponas describe PONAS-A
      ponas describe PONAS-C --resolution 160 --classes 10
      ponas describe my-network.txt --json
      ponas describe net.config
    """
    from ponas_deploy.tables.architectures import read_architecture
    from searchspace.description import describe as describe_architecture

    description = describe_architecture(read_architecture(arch, space, resolution, classes))
    if json:
        from searchspace.description import description_document

        print_json(description_document(description))
        return
    from ponas_deploy.commands.reports.describe import describe_report

    show(describe_report(description))
