"""What `ponas search --json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ponas_deploy.engines.evolution_search import Found, Searched


@dataclass(frozen=True, slots=True)
class FoundNetwork:
    """A network of a search: top-1 in percent on the validation images, costs by the names of their columns.

    `generation` counts from 0.
    """

    choices: tuple[str, ...]
    text: str
    top1_pct: float
    costs: Mapping[str, float]
    generation: int


@dataclass(frozen=True, slots=True)
class SearchDocument:
    """What `ponas search --json` prints: the best network, those that no other beats, how many were
    evaluated."""

    space: str
    best: FoundNetwork
    front: tuple[FoundNetwork, ...]
    evaluations: int


def search_document(found: Searched) -> SearchDocument:
    """A finished search."""
    space = found.best.architecture.space.name
    return SearchDocument(
        space, _network(found.best), tuple(map(_network, found.front)), len(found.evaluated)
    )


def _network(found: Found) -> FoundNetwork:
    architecture = found.architecture
    return FoundNetwork(
        architecture.choices, architecture.text, found.top1_pct, found.costs, found.generation
    )
