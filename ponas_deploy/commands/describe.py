"""`ponas describe`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from ponas_deploy.commands.options import Arch, ArchSpace, Classes, FileResolution, Json
from ponas_deploy.commands.output import print_json, show


class Counter(str, Enum):
    """Whose count of operations is shown beside the MACs."""

    MMRAZOR = "mmrazor"


def describe(
    arch: Arch,
    space: ArchSpace = None,
    resolution: FileResolution = None,
    classes: Classes = 1000,
    counter: Annotated[
        Counter | None,
        typer.Option(
            "--counter",
            help="Show what another project's counter calls FLOPs too: mmrazor adds batch norm, activations"
            " and the pool to the MACs.",
        ),
    ] = None,
    yaml: Annotated[
        bool,
        typer.Option("--yaml", help="Print nothing but the network as MMRazor's fix_subnet YAML (SPOS)."),
    ] = False,
    json: Json = False,
) -> None:
    """Show an architecture's layers, parameters and MACs.

    \b
    Examples:
      ponas describe PONAS-A
      ponas describe PONAS-C --resolution 160 --classes 10
      ponas describe my-network.txt --json
      ponas describe net.config
      ponas describe SPOS-MMRAZOR --counter mmrazor
      ponas describe SPOS-ANGLENAS --yaml > fix_subnet.yaml
    """
    from ponas_deploy.tables.architectures import read_architecture
    from searchspace.description import describe as describe_architecture

    if json and yaml:
        raise typer.BadParameter(
            "--yaml prints a document of its own: leave one of them out.", param_hint="--json"
        )
    architecture = read_architecture(arch, space, resolution, classes)
    if yaml:
        from ponas_deploy.tables.fix_subnet import fix_subnet

        typer.echo(fix_subnet(architecture), nl=False)
        return
    description = describe_architecture(architecture, counter.value if counter else None)
    if json:
        from searchspace.description import description_document

        print_json(description_document(description))
        return
    from ponas_deploy.commands.reports.describe import describe_report

    show(describe_report(description))
