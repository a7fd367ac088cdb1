from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponas_deploy.search.columns import least_cost, total
from ponas_deploy.search.frontier import best_within, exact_front
from ponas_deploy.search.genetic import GeneticSettings, evolve
from small_spaces import Column, every_total, spaces

SHORT = GeneticSettings(population=8, generations=15)


def paper_sized() -> tuple[Column, Column]:
    rng = np.random.default_rng(0)
    return list(rng.uniform(0, 1, (19, 12))), list(rng.uniform(0.1, 1, (19, 12)))


def test_the_defaults_are_the_papers() -> None:
    assert GeneticSettings() == GeneticSettings(population=20, mutation=0.1, generations=1000)


@settings(max_examples=50)
@given(spaces(3), st.lists(st.floats(0, 1), min_size=2, max_size=2), st.integers(0, 99))
def test_it_fits_always_and_never_beats_the_optimum(
    tables: tuple[Column, ...], tightness: list[float], seed: int
) -> None:
    loss, costs, fixed = tables[0], list(tables[1:]), [0.5, 0.0]
    totals = [every_total(cost, constant) for cost, constant in zip(costs, fixed, strict=True)]
    limits = [t.min() + part * (t.max() - t.min()) for t, part in zip(totals, tightness, strict=True)]
    fits = np.all([t <= limit + 1e-12 * abs(limit) for t, limit in zip(totals, limits, strict=True)], axis=0)
    if not fits.any():
        with pytest.raises(ValueError, match="no architecture meets"):
            evolve(loss, costs, limits, fixed, settings=SHORT, seed=seed)
        return
    found = evolve(loss, costs, limits, fixed, settings=SHORT, seed=seed)
    assert found.loss >= every_total(loss)[fits].min() - 1e-9
    assert found.loss == total(loss, found.choices)
    assert (found.costs <= np.array(limits) + 1e-12 * np.abs(limits)).all()
    assert found.costs.tolist() == [
        total(c, found.choices, fixed=f) for c, f in zip(costs, fixed, strict=True)
    ]


def test_the_history_only_falls_and_ends_at_the_best() -> None:
    loss, cost = paper_sized()
    found = evolve(loss, [cost], [8.0], [0.0], settings=GeneticSettings(generations=100))
    assert found.history.shape == (100,)
    assert (np.diff(found.history) <= 0).all()
    assert found.history[-1] == found.loss
    assert found.evaluations >= 100 * 10


def test_a_seed_decides_everything() -> None:
    loss, cost = paper_sized()
    runs = [evolve(loss, [cost], [6.0], [0.0], settings=SHORT, seed=seed) for seed in (1, 1, 2)]
    assert runs[0].choices.tolist() == runs[1].choices.tolist()
    assert runs[0].history.tolist() == runs[1].history.tolist()
    assert runs[0].evaluations == runs[1].evaluations
    assert runs[0].history.tolist() != runs[2].history.tolist()


def test_a_budget_that_only_one_architecture_meets() -> None:
    loss, cost = paper_sized()
    cheapest = least_cost(cost, fixed_cost=0.3)
    found = evolve(loss, [cost], [cheapest], [0.3], settings=SHORT)
    assert found.choices.tolist() == [layer.argmin() for layer in cost]
    assert found.costs[0] == cheapest


def test_a_tight_budget_is_searched_from_a_whole_population() -> None:
    loss, cost = paper_sized()
    front = exact_front(cost, loss)
    budget = float(least_cost(cost) * 1.1)
    index = best_within(front, budget)
    assert index is not None
    losses = {evolve(loss, [cost], [budget], [0.0], seed=seed).loss for seed in range(3)}
    assert min(losses) == pytest.approx(front.loss[index], rel=0.1)


def test_limits_so_opposed_that_only_the_exact_search_finds_a_beginning() -> None:
    rng = np.random.default_rng(5)
    first = [rng.permutation(np.arange(12.0)) for _ in range(12)]
    second = [11.0 - layer for layer in first]
    found = evolve([np.ones(12)] * 12, [first, second], [66.0, 66.0], [0.0, 0.0], settings=SHORT)
    assert found.costs.tolist() == [66.0, 66.0]


def test_a_budget_looser_than_everything_gives_the_least_loss() -> None:
    loss = [np.array([0.3, 0.0, 0.2]), np.array([0.0, 0.4])]
    found = evolve(loss, [loss], [99.0], [0.0], seed=3)
    assert found.choices.tolist() == [1, 0]
    assert found.loss == 0.0
    assert evolve(loss, [], [], [], seed=3).loss == 0.0


def test_an_impossible_budget_is_refused_with_its_numbers() -> None:
    loss, cost = [np.zeros(2)] * 3, [np.array([1.0, 2.0])] * 3
    with pytest.raises(
        ValueError, match=r"no architecture meets the limits \[2.9\]: the least totals are \[3.0\]"
    ):
        evolve(loss, [cost], [2.9], [0.0])
    with pytest.raises(ValueError, match="no architecture meets the limits"):
        evolve([np.zeros(2)], [[np.array([1.0, 5.0])], [np.array([5.0, 1.0])]], [4.0, 4.0], [0.0, 0.0])


def test_layers_with_one_candidate_do_not_mutate_out_of_range() -> None:
    loss = [np.array([0.0]), np.array([1.0, 0.0])]
    found = evolve(loss, [loss], [9.0], [0.0], settings=GeneticSettings(mutation=1.0, generations=5))
    assert found.choices.tolist() == [0, 1]


def test_without_generations_the_best_random_one_is_returned() -> None:
    loss, cost = paper_sized()
    found = evolve(loss, [cost], [12.0], [0.0], settings=GeneticSettings(generations=0))
    assert found.history.size == 0
    assert found.costs[0] <= 12.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"population": 10}, "use 4, 8, 12"),
        ({"population": 0}, "use 4, 8, 12"),
        ({"mutation": 1.5}, "between 0 and 1"),
        ({"generations": -1}, "cannot be negative"),
    ],
)
def test_settings_that_cannot_be(changed: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GeneticSettings(**changed)  # type: ignore[arg-type]
