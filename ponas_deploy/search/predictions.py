"""Given networks on several latency tables: what each is predicted to take, and to lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ponas_deploy.search.costs import costs_document, network_costs, with_costs
from ponas_deploy.search.specialize import matched_loss
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.spaces import space_of
from searchspace.architecture import Architecture
from searchspace.space import Space

Predicted = TypeVar("Predicted")


@dataclass(frozen=True, slots=True)
class NetworkPrediction:
    """One network: its latency on every table, in their order, and the loss where an accuracy table is given.

    `costs` are those that need no table, by the names of their columns: empty where the space is not known.
    """

    name: str
    choices: tuple[str, ...]
    predicted_ms: tuple[float, ...]
    predicted_loss_pp: float | None
    costs: tuple[tuple[str, float], ...] = ()


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
    predicted_loss_pp = loss.total(choices) if loss else None
    costs = tuple(network_costs(Architecture(space, choices)).items()) if space else ()
    return NetworkPrediction(name, choices, predicted_ms, predicted_loss_pp, costs)


@dataclass(frozen=True, slots=True)
class PredictedNetwork:
    """See `NetworkPrediction`; `predicted_ms` by the names of the tables. The costs follow."""

    name: str
    choices: tuple[str, ...]
    predicted_ms: Mapping[str, float]
    predicted_loss_pp: float | None


@dataclass(frozen=True, slots=True)
class ComparedNetworks(Generic[Predicted]):
    """What `ponas compare --json` prints; `warnings` are what speaks against the tables."""

    tables: tuple[str, ...]
    networks: tuple[Predicted, ...]
    warnings: tuple[str, ...] = ()


def compared_networks_type() -> Any:
    """The type of a comparison with the costs that are known now."""
    generic: Any = ComparedNetworks
    return generic[with_costs(PredictedNetwork)]


def predictions_document(
    networks: Sequence[NetworkPrediction], tables: Sequence[str], warnings: Sequence[str] = ()
) -> ComparedNetworks[PredictedNetwork]:
    """Networks on tables (by their names) as `ponas compare --json` prints them."""
    found = tuple(_document(network, tables) for network in networks)
    return ComparedNetworks(tuple(tables), found, tuple(warnings))


def _document(network: NetworkPrediction, tables: Sequence[str]) -> PredictedNetwork:
    costs: dict[str, Any] = {**costs_document(dict(network.costs))}
    return with_costs(PredictedNetwork)(
        name=network.name,
        choices=network.choices,
        predicted_ms=dict(zip(tables, network.predicted_ms, strict=True)),
        predicted_loss_pp=network.predicted_loss_pp,
        **costs,
    )
