"""Given networks on several latency tables: what each is predicted to take, and to lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from msgspec import UNSET, UnsetType

from ponas_deploy.search.costs import costs_document, network_costs, with_costs
from ponas_deploy.search.specialize import matched_loss
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.spaces import space_of
from ponas_deploy.tables.top1 import PredictedTop1
from searchspace.architecture import Architecture
from searchspace.space import Space

Predicted = TypeVar("Predicted")


@dataclass(frozen=True, slots=True)
class NetworkPrediction:
    """One network: its latency on every table, in their order, and the loss where an accuracy table is given.

    `predicted_top1` is there where that table says which top-1 a loss is.

    `costs` are those that need no table, by the names of their columns: empty where the space is not known.
    """

    name: str
    choices: tuple[str, ...]
    predicted_ms: tuple[float, ...]
    predicted_loss_pp: float | None
    costs: tuple[tuple[str, float], ...] = ()
    predicted_top1: PredictedTop1 | None = None


def predict_networks(
    networks: Sequence[tuple[str, tuple[str, ...]]],
    tables: Sequence[LatencyTable],
    accuracy: AccuracyTable | None = None,
    space: Space | None = None,
) -> tuple[NetworkPrediction, ...]:
    """Predict (name, choices) pairs, the choices in the layer order of the first table.

    `space` is theirs where the table does not say it.
    TableMismatchError when the tables are not of one space, ArchitectureError or UnknownNameError for a
    network that does not fit them.
    """
    first, space = tables[0], space or space_of(tables[0])
    latencies = [table.grid.aligned_to(first.grid, "another latency table", "the first") for table in tables]
    found = tuple(_predict(name, choices, latencies, space) for name, choices in networks)
    if accuracy is None:
        return found
    loss = matched_loss(first, accuracy)
    return tuple(_with_loss(one, loss, accuracy) for one in found)


def _predict(
    name: str, choices: tuple[str, ...], latencies: Sequence[Grid], space: Space | None
) -> NetworkPrediction:
    predicted_ms = tuple(grid.total(choices) for grid in latencies)
    costs = tuple(network_costs(Architecture(space, choices)).items()) if space else ()
    return NetworkPrediction(name, choices, predicted_ms, None, costs)


def _with_loss(network: NetworkPrediction, loss: Grid, accuracy: AccuracyTable) -> NetworkPrediction:
    loss_pp = loss.total(network.choices)
    return replace(network, predicted_loss_pp=loss_pp, predicted_top1=accuracy.predicted_top1(loss_pp))


@dataclass(frozen=True, slots=True)
class PredictedNetwork:
    """See `NetworkPrediction`; `predicted_ms` by the names of the tables. The costs follow.

    `predicted_top1_pct`, and what it is of, are absent where the accuracy table only ranks.
    """

    name: str
    choices: tuple[str, ...]
    predicted_ms: Mapping[str, float]
    predicted_loss_pp: float | None
    predicted_top1_pct: float | UnsetType = field(default=UNSET, kw_only=True)
    predicted_top1_of: str | UnsetType = field(default=UNSET, kw_only=True)


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
        predicted_top1_pct=network.predicted_top1.pct if network.predicted_top1 else UNSET,
        predicted_top1_of=network.predicted_top1.of if network.predicted_top1 else UNSET,
        **costs,
    )
