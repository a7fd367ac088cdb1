"""What a profile found out: one row a table, the certificate beside the noise floor."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import FAINT, digits, table
from ponas_deploy.measuring.launches import launch_notes
from ponas_deploy.tables.store import StoredTable


def profile_report(made: Sequence[StoredTable]) -> RenderableType:
    """The tables that were just made."""
    rows = table("Latency tables", "Errors are of networks that had no part in making the table.")
    for column in (
        "runtime",
        "fastest",
        "slowest",
        "mean error",
        "worst",
        "tau",
        "noise floor",
        "plain sums",
    ):
        rows.add_column(column, justify="left" if column == "runtime" else "right")
    keys = [stored.table.space for stored in made]
    several = len({key.resolution for key in keys if key}) > 1
    for stored, key in zip(made, keys, strict=True):
        grid, certificate = stored.table.grid, stored.table.certificate
        conditions = stored.conditions
        where = f" at {key.resolution} px" if key and several else ""
        row = [
            f"{conditions.backend} {conditions.precision}{where}{_origin(stored)}",
            *(f"{digits(end)} ms" for end in grid.extremes),
        ]
        if certificate:
            row += [
                f"{certificate.mean_error_pct:.2f} %",
                f"{certificate.worst_error_pct:.1f} %",
                f"{certificate.kendall_tau:.3f}",
                f"{certificate.noise_floor_pct:.2f} %",
                f"{certificate.isolated_mean_error_pct:.1f} % off",
            ]
        rows.add_row(*row)
    notes = [note for stored in made for note in launch_notes(stored.table.protocol)]
    notes += dict.fromkeys(stored.table.estimated for stored in made if stored.table.estimated)
    return Group(
        rows,
        *map(Text, notes),
        *(Text(str(stored.path), style=FAINT) for stored in made),
    )


def _origin(stored: StoredTable) -> str:
    return ", from a prior" if stored.table.protocol.prior else ""
