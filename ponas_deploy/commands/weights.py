"""`ponas weights`."""

from __future__ import annotations

from typing import Annotated

import typer

from ponas_deploy.commands.options import Json, own_name
from ponas_deploy.commands.output import print_json, show


def weights(
    space: Annotated[
        str,
        typer.Option(
            "--space", metavar="NAME", callback=own_name, help="The search space, such as ofa-mbv3."
        ),
    ] = "ofa-mbv3",
    download: Annotated[
        bool, typer.Option("--download", help="Download the file into the store; else nothing is fetched.")
    ] = False,
    json: Json = False,
) -> None:
    """Say where the weights of a space that its authors published are had; with --download get them.

    A transfer that broke goes on where it was when the same command is given again. What came is checked
    and kept in the store, with its SHA-256; then it is a file for --weights.

    \b
    Examples:
      ponas weights --space ofa-mbv3
      ponas weights --space ofa-mbv3-w1.2 --download
    """
    from ponas_deploy.commands.waiting import waiting
    from ponas_deploy.engines.published_weights import download_weights, published_weights

    if download:
        with waiting() as advance:
            found = download_weights(space, advance)
    else:
        found = published_weights(space)
    if json:
        print_json(found)
        return
    from ponas_deploy.commands.reports.weights import weights_report

    show(weights_report(found))
