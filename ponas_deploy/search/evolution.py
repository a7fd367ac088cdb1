"""Evolution search whose score is measured: networks in, accuracies out (SPOS, arXiv 1904.00420, section
3.4).

The paper's settings are the defaults. What it leaves open is decided so: parents are the best networks ever
seen; a gene of a child comes from either parent; no network is scored twice; a child that is known or breaks
a limit is made again, a bounded number of times, and then random networks fill its place. So every search
ends: when a space has no network left, its generations are smaller. The same seed and the same scores give
the same search, so that one that was killed is repeated with the scores that it has kept. Pure: no torch, no
clock, no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from ponas_deploy.errors import PonasError
from ponas_deploy.search.columns import Floats, Indices
from ponas_deploy.search.drawing import draw_within
from ponas_deploy.search.limited import LimitedSpace

_ATTEMPTS = 20
"""Of each child that is wanted; as many for a whole generation of random networks, each of them drawn that
often."""

Key: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EvolutionSettings:
    """How many generations of how many networks; of how many parents, and how their children are made.

    Each generation after the first has `mutants`, whose genes are drawn anew with probability `mutation`, and
    `crossovers` of two parents, then random networks up to `population`. PonasError for what cannot be.
    """

    generations: int = 20
    population: int = 50
    parents: int = 10
    mutants: int = 25
    mutation: float = 0.1
    crossovers: int = 25

    def __post_init__(self) -> None:
        for name in ("generations", "population", "parents"):
            if getattr(self, name) < 1:
                raise PonasError(f"{name} is {getattr(self, name)}: at least 1 is needed.")
        if min(self.mutants, self.crossovers) < 0 or self.mutants + self.crossovers > self.population:
            raise PonasError(
                f"{self.mutants} mutants and {self.crossovers} crossovers: from 0 to the population of"
                f" {self.population} together."
            )
        if not 0 <= self.mutation <= 1:
            raise PonasError(f"a mutation probability of {self.mutation:g}: it lies between 0 and 1.")

    @property
    def evaluations(self) -> int:
        """The most networks that are scored."""
        return self.generations * self.population


@dataclass(frozen=True, slots=True)
class Scored:
    """A network that was scored: one candidate index a layer (L,), its score, its generation (from 0)."""

    choices: Key
    score: float
    generation: int


Score: TypeAlias = Callable[[Indices], Floats]
"""Networks (n, L) -> their scores (n,), larger is better."""


def evolve(
    space: LimitedSpace,
    score: Score,
    settings: EvolutionSettings,
    *,
    seed: int = 0,
    otherwise: Indices | None = None,
) -> Iterator[tuple[Scored, ...]]:
    """The networks of one generation after the other; each was scored once.

    The genes are the layers of `space`. Where no network is drawn within the limits, the search begins with
    `otherwise` (L,). PonasError where there is none either.
    """
    rng, known = np.random.default_rng(seed), dict[Key, Scored]()
    for generation in range(settings.generations):
        wanted = _Wanted(space, set(known), rng)
        if known:
            best = sorted(known.values(), key=lambda one: -one.score)[: settings.parents]
            parents = np.array([one.choices for one in best], dtype=np.intp)
            wanted.breed(settings.mutants, partial(_mutants, space, settings.mutation, parents, rng))
            wanted.breed(settings.crossovers, partial(_crossovers, parents, rng))
        wanted.fill(settings.population)
        if not known and not wanted.found and otherwise is not None:
            wanted.take(otherwise[None], 1)
        if not wanted.found:
            break
        scores = score(np.array(wanted.found, dtype=np.intp))
        found = tuple(
            Scored(choices, float(value), generation)
            for choices, value in zip(wanted.found, scores, strict=True)
        )
        known |= {one.choices: one for one in found}
        yield found
    if not known:
        raise PonasError("no network is within the limits: loosen one of them.")


class _Wanted:
    """A generation that fills up with networks that fit and are not known."""

    def __init__(self, space: LimitedSpace, known: set[Key], rng: np.random.Generator) -> None:
        self._space, self._known, self._rng = space, known, rng
        self.found: list[Key] = []

    def breed(self, count: int, make: Callable[[int], Indices]) -> None:
        """Up to `count` children; those that are known, or break a limit, are made again."""
        target = len(self.found) + count
        for _ in range(_ATTEMPTS):
            if len(self.found) == target:
                break
            children = make(target - len(self.found))
            self.take(children[self._space.fits(children)], target)

    def fill(self, target: int) -> None:
        """Random networks until there are `target`, or no other one is met any more."""
        for _ in range(_ATTEMPTS):
            if len(self.found) == target:
                break
            drawn, _ = draw_within(self._space, target, target * _ATTEMPTS, self._rng)
            self.take(drawn, target)

    def take(self, networks: Indices, target: int) -> None:
        """Those of `networks` (n, L) that are not known, until there are `target`."""
        for row in networks.tolist():
            key = tuple(row)
            if len(self.found) < target and key not in self._known:
                self._known.add(key)
                self.found.append(key)


def _mutants(
    space: LimitedSpace, mutation: float, parents: Indices, rng: np.random.Generator, count: int
) -> Indices:
    chosen = parents[rng.integers(len(parents), size=count)]
    drawn = (rng.random(chosen.shape) * space.sizes).astype(np.intp)
    return np.where(rng.random(chosen.shape) < mutation, drawn, chosen)


def _crossovers(parents: Indices, rng: np.random.Generator, count: int) -> Indices:
    first, second = (parents[rng.integers(len(parents), size=count)] for _ in range(2))
    return np.where(rng.random(first.shape) < 0.5, first, second)


def front_of(costs: Floats, scores: Floats) -> list[int]:
    """The places of the networks that no other one beats, from the least cost on: (n,) and (n,)."""
    order = sorted(range(len(costs)), key=lambda place: (costs[place], -scores[place]))
    found: list[int] = []
    for place in order:
        if not found or scores[place] > scores[found[-1]]:
            found.append(place)
    return found
