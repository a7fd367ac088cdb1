"""The paper's genetic algorithm (PONAS, section 3.3), with its settings as the defaults.

The exact searches in `frontier` and `constrained` are faster and never worse; this one is here because the
paper has it, and to measure its distance from the optimum. What the paper leaves open is decided
so: parents are paired at random, a child that breaks a limit is made again from the same two parents, and
after a bounded number of attempts it is a copy of the first one. So every population fits and none hangs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ponas_deploy.search.columns import ExactColumn, Floats, Indices
from ponas_deploy.search.constrained import solve_constrained
from ponas_deploy.search.drawing import draw_within
from ponas_deploy.search.limited import LimitedSpace, smallest_possible

_ATTEMPTS = 50  # at each chromosome of the first population, and at each child that breaks a limit


@dataclass(frozen=True, slots=True)
class GeneticSettings:
    """The paper's settings: 20 chromosomes, the better half of them parents, two children a pair."""

    population: int = 20
    mutation: float = 0.1
    generations: int = 1000

    def __post_init__(self) -> None:
        if self.population < 4 or self.population % 4:
            raise ValueError(
                f"population is {self.population}, half of it must form pairs: use 4, 8, 12, ..."
            )
        if not 0 <= self.mutation <= 1:
            raise ValueError(f"mutation is {self.mutation}, a probability lies between 0 and 1")
        if self.generations < 0:
            raise ValueError(f"generations is {self.generations}, it cannot be negative")


@dataclass(frozen=True, slots=True)
class Evolution:
    """The best architecture ever seen, and how the search came to it.

    `choices` (L,) one candidate index a layer; `loss` its total; `costs` (C,) its total of each cost;
    `history` (generations,) the best loss so far after each generation; `evaluations` counts the chromosomes
    that were checked against the limits, children made again included.
    """

    choices: Indices
    loss: float
    costs: Floats
    history: Floats
    evaluations: int


def evolve(
    loss: Sequence[Floats],
    costs: Sequence[Sequence[Floats]],
    limits: Sequence[float],
    fixed: Sequence[float],
    *,
    settings: GeneticSettings | None = None,
    seed: int = 0,
) -> Evolution:
    """Search for the least loss within every limit by the paper's genetic algorithm; equal seeds end equally.

    `loss` holds one array (n_l,) a layer and so does each of `costs`; `limits` and `fixed` give each cost's
    limit and constant. ValueError when the tables do not fit each other or no architecture meets the limits.
    """
    settings = settings or GeneticSettings()
    rng = np.random.default_rng(seed)
    space = LimitedSpace.of(loss, costs, limits, fixed)
    attempts = settings.population * _ATTEMPTS
    population, evaluations = draw_within(space, settings.population, attempts, rng)
    if not population.size and (exact := solve_constrained(loss, costs, limits, fixed)) is not None:
        population = exact[None]
    if not population.size:
        least = smallest_possible(costs, fixed)
        raise ValueError(
            f"no architecture meets the limits {list(limits)}: the least totals are {list(least)}"
        )

    population = np.resize(population, (settings.population, space.sizes.size))
    losses = space.losses(population)
    history = np.empty(settings.generations)
    for generation in range(settings.generations):
        parents = population[np.argsort(losses, kind="stable")[: settings.population // 2]]
        children, checked = _children(space, parents, settings.mutation, rng)
        population = np.concatenate((parents, children))
        losses = space.losses(population)
        history[generation] = losses.min()
        evaluations += checked

    best = population[losses.argmin()]  # parents live on, so the best ever seen is still here
    column = ExactColumn.of(loss)
    limited = map(ExactColumn.of, costs, fixed, limits)  # what no limit can pay for may be of any size
    return Evolution(
        choices=best,
        loss=float(column.values(column.totals(best))),
        costs=np.array([one.values(one.totals(best)) for one in limited]),
        history=column.values(history + column.least()),
        evaluations=evaluations,
    )


def _children(
    space: LimitedSpace, parents: Indices, mutation: float, rng: np.random.Generator
) -> tuple[Indices, int]:
    """Two fitting children of each random pair of `parents` (P, L): (P, L), and how many were checked."""
    count, length = parents.shape
    first = parents[rng.permutation(count)]
    second = first.reshape(-1, 2, length)[:, ::-1].reshape(first.shape)
    cut = np.repeat(rng.integers(1, length + 1, count // 2), 2)[:, None]
    children = _breed(space, first, second, cut, mutation, rng)
    broken = np.flatnonzero(~space.fits(children))
    if broken.size:
        cuts = rng.integers(1, length + 1, (broken.size, _ATTEMPTS, 1))
        again = _breed(space, first[broken, None], second[broken, None], cuts, mutation, rng)
        fits = space.fits(again)
        first_fit = again[np.arange(broken.size), fits.argmax(axis=1)]
        children[broken] = np.where(fits.any(axis=1, keepdims=True), first_fit, first[broken])
    return children, count + broken.size * _ATTEMPTS


def _breed(
    space: LimitedSpace,
    first: Indices,
    second: Indices,
    cut: Indices,
    mutation: float,
    rng: np.random.Generator,
) -> Indices:
    """One-point crossover, `first` before `cut` and `second` after, then mutation of genes: (..., L)."""
    genes = np.where(np.arange(space.sizes.size) < cut, first, second)
    mutates = rng.random(genes.shape) < mutation
    step = 1 + (rng.random(genes.shape) * (space.sizes - 1)).astype(np.intp)
    return np.where(mutates, (genes + step) % space.sizes, genes)
