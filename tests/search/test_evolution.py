"""Evolution search with a planted score: what is scored, how often, and that it ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponas_deploy.errors import PonasError
from ponas_deploy.search.columns import Floats, Indices, least_cost, total
from ponas_deploy.search.constrained import solve_constrained
from ponas_deploy.search.costs import MACS
from ponas_deploy.search.evolution import EvolutionSettings, Scored, evolve, front_of
from ponas_deploy.search.limited import LimitedSpace
from searchspace import Architecture, Space
from small_spaces import Column, every_architecture, every_total, spaces
from small_staged_spaces import every_list, is_legal, staged_spaces

SMALL = EvolutionSettings(generations=4, population=6, parents=3, mutants=2, crossovers=2)


class Planted:
    """The score of a network is the sum of its choices' worths; what was asked for is kept."""

    def __init__(self, worth: Column) -> None:
        self._worth, self.asked = worth, list[tuple[int, ...]]()

    def __call__(self, networks: Indices) -> Floats:
        self.asked += map(tuple, networks.tolist())
        return np.array([float(total(self._worth, one)) for one in networks])


def nothing(column: Column) -> Column:
    return [np.zeros_like(layer) for layer in column]


def limited(costs: list[Column], limits: list[float]) -> LimitedSpace:
    return LimitedSpace.of(nothing(costs[0]), costs, limits, [0.0] * len(costs))


def search(
    costs: list[Column], limits: list[float], score: Planted, how: EvolutionSettings, seed: int = 0
) -> list[Scored]:
    otherwise = solve_constrained(nothing(costs[0]), costs, limits, [0.0] * len(costs))
    generations = evolve(limited(costs, limits), score, how, seed=seed, otherwise=otherwise)
    return [one for generation in generations for one in generation]


def paper_sized() -> tuple[Column, Column, Column]:
    """Twenty layers of four candidates: worth, and two costs."""
    worth, one, other = (np.random.default_rng(0).uniform(0.1, 1, (3, 20, 4))).tolist()
    return tuple([np.array(layer) for layer in column] for column in (worth, one, other))  # type: ignore[return-value]


def test_the_defaults_are_the_papers() -> None:
    assert EvolutionSettings() == EvolutionSettings(20, 50, 10, 25, 0.1, 25)
    assert EvolutionSettings().evaluations == 1000


@settings(max_examples=60)
@given(spaces(3), st.lists(st.floats(0, 1), min_size=2, max_size=2), st.integers(0, 99))
def test_every_network_is_scored_once_and_within_every_limit(
    tables: tuple[Column, ...], tightness: list[float], seed: int
) -> None:
    worth, costs = tables[0], list(tables[1:])
    totals = [every_total(cost) for cost in costs]
    limits = [float(t.min() + part * np.ptp(t)) for t, part in zip(totals, tightness, strict=True)]
    fits = np.all([t <= limit + 1e-12 * abs(limit) for t, limit in zip(totals, limits, strict=True)], axis=0)
    allowed = {tuple(row) for row in every_architecture(worth)[fits].tolist()}
    score = Planted(worth)
    if not allowed:
        with pytest.raises(PonasError, match="no network is within the limits"):
            search(costs, limits, score, SMALL, seed)
        assert not score.asked
        return
    found = search(costs, limits, score, SMALL, seed)
    assert [one.choices for one in found] == score.asked
    assert len(set(score.asked)) == len(score.asked) <= SMALL.evaluations
    assert set(score.asked) <= allowed
    assert len(found) == SMALL.evaluations or len(found) >= min(len(allowed), 1)
    assert all(one.score == float(total(worth, np.array(one.choices))) for one in found)
    again = Planted(worth)
    assert search(costs, limits, again, SMALL, seed) == found


def test_a_tiny_space_is_searched_to_its_end() -> None:
    column = [np.array([1.0, 2.0])] * 3
    found = search([column], [99.0], Planted(column), replace(SMALL, generations=50))
    assert {one.choices for one in found} == {tuple(row) for row in every_architecture(column).tolist()}
    assert len(found) == 8


def test_an_unbroken_search_fills_every_generation_and_improves() -> None:
    worth, cost, _ = paper_sized()
    how = EvolutionSettings()
    found = search([cost], [9.0], Planted(worth), how, seed=3)
    by_generation = [[one for one in found if one.generation == number] for number in range(20)]
    assert [len(one) for one in by_generation] == [50] * 20
    best = [max(one.score for one in generation) for generation in by_generation]
    loss = [layer.max() - layer for layer in worth]
    optimum = solve_constrained(loss, [cost], [9.0], [0.0])
    assert max(best) <= float(total(worth, optimum)) + 1e-9  # type: ignore[arg-type]
    random = search([cost], [9.0], Planted(worth), replace(how, mutants=0, crossovers=0), seed=3)
    assert max(best) > max(one.score for one in random), "better than as many random networks"


def test_children_have_the_genes_of_the_best_parents() -> None:
    """Without mutants and random networks: every gene of a child is one of the parents' in that layer."""
    worth, cost, _ = paper_sized()
    how = EvolutionSettings(generations=2, population=30, parents=4, mutants=0, crossovers=30)
    found = search([cost], [99.0], Planted(worth), how)
    first = sorted((one for one in found if not one.generation), key=lambda one: -one.score)[:4]
    genes = [set(layer) for layer in zip(*(one.choices for one in first), strict=True)]
    children = [one for one in found if one.generation]
    assert len(children) == 30
    assert all(gene in genes[layer] for one in children for layer, gene in enumerate(one.choices))


def test_tight_ceilings_are_met_where_blind_drawing_hardly_meets_them() -> None:
    worth, cost, other = paper_sized()
    limits = [1.15 * float(least_cost(cost)), 1.9 * float(least_cost(other))]
    space = limited([cost, other], limits)
    blind = (np.random.default_rng(0).random((200_000, 20)) * 4).astype(np.intp)
    assert not space.fits(blind).any()
    found = search([cost, other], limits, Planted(worth), EvolutionSettings(generations=3))
    assert len(found) > 50
    assert space.fits(np.array([one.choices for one in found])).all()


def test_of_ceilings_so_opposed_that_nothing_is_drawn_the_search_begins_with_the_one_that_is_known() -> None:
    rng = np.random.default_rng(5)
    first = [rng.permutation(np.arange(12.0)) for _ in range(12)]
    second = [11.0 - layer for layer in first]
    found = search([first, second], [66.0, 66.0], Planted(first), SMALL)
    assert len(found) >= 1
    assert all(one.score == 66.0 for one in found)


def test_an_impossible_ceiling_is_answered_at_once() -> None:
    column, score = [np.array([1.0, 2.0])] * 40, Planted([np.zeros(2)] * 40)
    with pytest.raises(PonasError, match="no network is within the limits: loosen one of them"):
        search([column], [39.9], score, EvolutionSettings())
    opposed = [np.array([2.0, 1.0])] * 40
    with pytest.raises(PonasError, match="no network is within the limits"):
        search([column, opposed], [59.0, 59.0], score, EvolutionSettings())
    assert not score.asked


@settings(max_examples=40)
@given(staged_spaces(), st.floats(0, 1), st.integers(0, 9))
def test_absent_layers_keep_the_depth_rule(space: Space, tightness: float, seed: int) -> None:
    """Groups of layers are the genes: whatever is bred or drawn is a network of the space."""
    groups = space.groups
    grid = MACS.source.counted(space)
    assert grid is not None
    cost = groups.joined(grid.arrays())
    legal = [row for row in every_list(space) if is_legal(space, row)]
    least, most = least_cost(cost), sum(float(layer.max()) for layer in cost)
    score = Planted(nothing(cost))
    search([cost], [least + tightness * (most - least)], score, SMALL, seed)
    networks = [tuple(row) for row in groups.choices(np.array(score.asked, dtype=np.intp)).tolist()]
    assert len(set(networks)) == len(networks) <= len(legal)
    assert set(networks) <= set(legal)
    for row in networks:
        Architecture.from_indices(space, row)


def test_the_front_is_what_no_other_beats() -> None:
    costs, scores = np.array([3.0, 1.0, 2.0, 2.0, 4.0, 1.0]), np.array([7.0, 5.0, 6.0, 4.0, 7.0, 4.0])
    assert front_of(costs, scores) == [1, 2, 0]
    assert front_of(np.empty(0), np.empty(0)) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"population": 0}, "population is 0: at least 1"),
        ({"generations": 0}, "generations is 0"),
        ({"parents": 0}, "parents is 0"),
        ({"mutants": 40}, "40 mutants and 25 crossovers: from 0 to the population of 50 together"),
        ({"crossovers": -1}, "25 mutants and -1 crossovers"),
        ({"mutation": 1.5}, "a mutation probability of 1.5: it lies between 0 and 1"),
    ],
)
def test_settings_that_cannot_be(changed: dict[str, int], message: str) -> None:
    with pytest.raises(PonasError, match=message):
        EvolutionSettings(**changed)  # type: ignore[arg-type]
