"""Given networks on several latency tables: what each is predicted to take, and to lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ponas_deploy.search.specialize import matched_loss
from ponas_deploy.tables import AccuracyTable, Grid, LatencyTable
from ponas_deploy.tables.spaces import space_of
from searchspace.architecture import Architecture
from searchspace.description import describe
from searchspace.space import Space


@dataclass(frozen=True, slots=True)
class NetworkPrediction:
    """One network: its latency on every table, in their order; None is what nothing here can say."""

    name: str
    choices: tuple[str, ...]
    predicted_ms: tuple[float, ...]
    predicted_loss_pp: float | None
    params: int | None
    macs: int | None


def predict_networks(
    networks: Sequence[tuple[str, tuple[str, ...]]],
    tables: Sequence[LatencyTable],
    accuracy: AccuracyTable | None = None,
) -> tuple[NetworkPrediction, ...]:
    """Predict (name, choices) pairs, the choices in the layer order of the first table.

    TableMismatchError when the tables are not of one space, ArchitectureError or UnknownNameError for a
    network that does not fit them.
    """
    first, space = tables[0], space_of(tables[0])
    latencies = [table.grid.aligned_to(first.grid, "another latency table", "the first") for table in tables]
    loss = matched_loss(first, accuracy) if accuracy else None
    return tuple(_predict(name, choices, latencies, loss, space) for name, choices in networks)


def _predict(
    name: str, choices: tuple[str, ...], latencies: Sequence[Grid], loss: Grid | None, space: Space | None
) -> NetworkPrediction:
    predicted_ms = tuple(grid.total(choices) for grid in latencies)
    counted = describe(Architecture(space, choices)) if space else None
    return NetworkPrediction(
        name,
        choices,
        predicted_ms,
        loss.total(choices) if loss else None,
        counted.params if counted else None,
        counted.macs if counted else None,
    )
