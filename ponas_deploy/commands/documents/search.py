"""What `ponas search --json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ponas_deploy.engines.evolution_search import Found, Searched
from ponas_deploy.search.costs import LATENCY


@dataclass(frozen=True, slots=True)
class FoundNetwork:
    """A network of a search: top-1 in percent on the validation images, counted costs by their columns.

    `predicted_ms` is None without a latency table. `generation` counts from 1.
    """

    choices: tuple[str, ...]
    text: str
    top1_pct: float
    predicted_ms: float | None
    costs: Mapping[str, float]
    generation: int


@dataclass(frozen=True, slots=True)
class SearchDocument:
    """What `ponas search --json` prints: the best network, and the front, from the cheapest on.

    So many `evaluations` lie in the file `networks`, which `ponas table fit` reads.
    """

    space: str
    best: FoundNetwork
    front: tuple[FoundNetwork, ...]
    evaluations: int
    networks: str


def search_document(found: Searched) -> SearchDocument:
    """A finished search."""
    return SearchDocument(
        found.best.architecture.space.name,
        _network(found.best),
        tuple(map(_network, found.front)),
        len(found.evaluated),
        str(found.path),
    )


def _network(found: Found) -> FoundNetwork:
    architecture, costs = found.architecture, dict(found.costs)
    predicted_ms = costs.pop(LATENCY.name, None)
    return FoundNetwork(
        architecture.choices, architecture.text, found.top1_pct, predicted_ms, costs, found.generation + 1
    )
