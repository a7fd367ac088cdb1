"""What `ponas table int8 --json` prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.engines.int8_losses import Int8Losses
from ponas_deploy.tables.accuracy import AccuracyCertificate
from searchspace.mixed import plain_network


@dataclass(frozen=True, slots=True)
class Int8Layer:
    """What the evaluated candidates of a layer lost in INT8, in percentage points; negative where it won."""

    layer: str
    measured_pp: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Int8Document:
    """What layers lose in INT8, how far sums of it are off, and where the table was written.

    `reference` is the network that layers were quantised in, `top1_pct` its top-1 in full precision, `factor`
    what the losses of layers were multiplied by, because together they lose less, or more.
    `mean_error_pp` is that of random networks of both precisions; `certificate` is None where their top-1
    was all the same.
    """

    reference: tuple[str, ...]
    top1_pct: float
    layers: tuple[Int8Layer, ...]
    factor: float
    networks: int
    mean_error_pp: float
    certificate: AccuracyCertificate | None
    table: str


def int8_document(found: Int8Losses, table: Path) -> Int8Document:
    """A table that was measured and written."""
    rows = zip(found.table.loss.layers, found.measured_pp, strict=True)
    return Int8Document(
        plain_network(found.reference).choices,
        found.full_pct,
        tuple(Int8Layer(name, lost) for name, lost in rows),
        found.factor,
        len(found.networks),
        found.mean_error_pp,
        found.table.certificate,
        str(table),
    )
