"""`ponas table import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ponas_deploy.commands.options import Classes, Force, Json, Resolution


def import_table(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", show_default=False, help="A latency table of once-for-all or FBNet."),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="TABLE", show_default=False, help="The table to write, JSON.")
    ],
    space: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default=False, help="The space whose layers once-for-all's entries fill."
        ),
    ] = None,
    resolution: Resolution = 224,
    classes: Classes = 1000,
    force: Force = False,
    json: Json = False,
) -> None:
    """Make a latency table of another project's.

    \b
    once-for-all, ProxylessNAS:
      YAML, an entry a shape with its `mean` in milliseconds:
        expanded_conv-input:56x56x24-output:28x28x40-expand:72-...
      It has no layers: --space names them, --resolution and --classes say
      for which networks. Needs the extra `yaml`.
    FBNet:
      text, the names of the operations, then a line a layer, in
      microseconds. Its layers become 1, 2, ...

    What the file lacks of the space is listed; then the table holds the other cells. A layer without any
    candidate is an error that names the entry which was looked for, and so is any lacking cell of a space
    whose layers may be left out (ofa-mbv3). PaddleSlim's tables hold single
    operators and no layers, and cannot be imported.

    CSV with the columns layer, candidate and latency_ms needs no import: every command reads it.

    \b
    Examples:
      ponas table import note10.yaml --space ofa-mbv3 --resolution 224 \\
        --out note10.json
      ponas table import lookup_table.txt --out fbnet.json
      ponas specialize --latency-table fbnet.json --accuracy-table loss.csv \\
        --latency 60ms
    """
    from ponas_deploy.commands.output import print_json, show
    from ponas_deploy.files.opening import refuse_file
    from ponas_deploy.tables.importing import imported
    from ponas_deploy.tables.latency_file import write_latency_table
    from searchspace import build_space

    if out.suffix.lower() != ".json":
        raise typer.BadParameter("an imported table is JSON: name it .json.", param_hint="--out")
    refuse_file(out, overwrite=force)
    made = imported(file, build_space(space, resolution, classes) if space else None)
    write_latency_table(made.table, out, overwrite=force)
    if json:
        from ponas_deploy.commands.documents.table import imported_document

        print_json(imported_document(made, out))
        return
    from ponas_deploy.commands.reports.imported import imported_report

    show(imported_report(made, file.name, str(out)))
