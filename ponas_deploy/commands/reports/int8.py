"""The report on what layers lose in INT8."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import WARN, table, titled
from ponas_deploy.commands.reports.tables import accuracy_certificate_lines
from ponas_deploy.engines.int8_losses import Int8Losses
from searchspace.mixed import plain_network


def int8_report(found: Int8Losses) -> Iterator[RenderableType]:
    """A row a layer, then the network they were quantised in, and how far sums are off."""
    rows = table("")
    rows.add_column("layer")
    rows.add_column("pp", justify="right")
    for name, lost in zip(found.table.loss.layers, found.measured_pp, strict=True):
        rows.add_row(name, ", ".join(f"{one:+.2f}" for one in lost) or "absent")
    yield titled("Lost in int8, one layer at a time", rows)
    yield Text(f"in {plain_network(found.reference).text}, top-1 {found.full_pct:.2f} % in fp32")
    yield Text(
        f"in the table each is multiplied by {found.factor:.2f}: together layers lose that much of their sum"
    )
    measured = np.mean([one.measured_pp for one in found.networks])
    yield Text(
        f"{len(found.networks)} random networks of both precisions lose {measured:+.2f} pp by int8 on"
        f" average; sums are off by {found.mean_error_pp:.2f} pp on average"
    )
    if found.table.certificate:
        yield from accuracy_certificate_lines(found.table.certificate)
    else:
        yield Text("no certificate: the random networks all have the same top-1", style=WARN)
