"""The report of `ponas train specialized`: what a network is worth on images that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import BEST, FAINT, table, titled


def trained_report(document: Mapping[str, Any], weights: str) -> RenderableType:
    """The document of a run's `result.json` as a table; `weights` is where the weights lie."""
    rows = table("")
    for name in ("images", "number", "top-1", "top-5"):
        rows.add_column(name, justify="left" if name == "images" else "right")
    for name in ("validation", "test"):
        found = document[name]
        accuracy = (f"{found[key]:.2f} %" for key in ("top1_pct", "top5_pct"))
        rows.add_row(name, f"{found['images']:,}", *accuracy, style=BEST if name == "test" else "")
    space, training = document["space"], document["training"]
    below = [
        f"from {document['inherited']['file'] if document['inherited'] else 'scratch'}"
        f"{', taught by ' + document['teacher']['file'] if document['teacher'] else ''},"
        f" {training['epochs']} epochs of {document['images']['train']:,} images",
        f"architecture: {','.join(document['choices'])}",
        f"weights: {weights}",
    ]
    title = f"A network of space {space['name']} for {document['data']} at {space['resolution']} px"
    return Group(titled(title, rows), *(Text(line, style=FAINT) for line in below))
