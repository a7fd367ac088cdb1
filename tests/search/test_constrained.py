from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponas_deploy.search import constrained
from ponas_deploy.search.columns import Floats, Indices, total
from ponas_deploy.search.constrained import find_best, k_best_constrained, solve_constrained
from ponas_deploy.search.frontier import best_within, exact_front
from ponas_deploy.search.limited import smallest_possible
from searchspace.errors import PonasError
from small_spaces import Column, every_architecture, every_total, spaces

NEAR = 1e-9


def limits_between(totals: list[Floats], tightness: list[float]) -> list[float]:
    return [float(t.min() + part * (t.max() - t.min())) for t, part in zip(totals, tightness, strict=True)]


def fitting(totals: list[Floats], limits: list[float]) -> np.ndarray:
    within = [t <= limit + 1e-12 * abs(limit) for t, limit in zip(totals, limits, strict=True)]
    return np.all(within, axis=0)


tightnesses = st.lists(st.floats(0, 1), min_size=3, max_size=3)
exact_values = spaces(4, ("ties", "hundredths", "macs"))


@given(exact_values, tightnesses, st.integers(1, 8))
def test_it_agrees_with_brute_force(tables: tuple[Column, ...], tightness: list[float], k: int) -> None:
    loss, costs, fixed = tables[0], list(tables[1:]), [0.5, 0.0, 1e6]
    totals = [every_total(cost, constant) for cost, constant in zip(costs, fixed, strict=True)]
    limits = limits_between(totals, tightness)
    fits = fitting(totals, limits)
    found = k_best_constrained(loss, costs, limits, fixed, k)
    expected = sorted(zip(every_total(loss)[fits], totals[0][fits], strict=True))[:k]
    assert total(loss, found) == pytest.approx([point[0] for point in expected], abs=NEAR)
    assert len(np.unique(found, axis=0)) == len(found) == min(k, fits.sum())
    for cost, constant, limit in zip(costs, fixed, limits, strict=True):
        assert (total(cost, found, fixed=constant) <= limit * (1 + 1e-12)).all()


@given(spaces(3, ("ties", "hundredths")), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_of_equals_the_cheapest_by_the_first_cost(tables: tuple[Column, ...], tightness: list[float]) -> None:
    loss, costs = tables[0], list(tables[1:])
    totals = [every_total(cost) for cost in costs]
    limits = limits_between(totals, tightness)
    found = k_best_constrained(loss, costs, limits, [0.0, 0.0], 6)
    points = np.round(np.column_stack((every_total(loss), totals[0])), 6)[fitting(totals, limits)]
    expected = points[np.lexsort((points[:, 1], points[:, 0]))][:6]
    assert np.column_stack((total(loss, found), total(costs[0], found))) == pytest.approx(expected, abs=1e-6)


@given(spaces(2), st.floats(0, 1))
def test_one_limit_agrees_with_the_front(tables: tuple[Column, Column], tightness: float) -> None:
    loss, cost = tables
    front = exact_front(cost, loss)
    budget = float(front.cost[0] + tightness * (front.cost[-1] - front.cost[0]))
    index = best_within(front, budget)
    found = solve_constrained(loss, [cost], [budget], [0.0])
    assert index is not None
    assert found is not None
    assert total(loss, found) == pytest.approx(front.loss[index], abs=NEAR)


def paper_sized(rng: np.random.Generator) -> tuple[Column, list[Column], list[float], list[float]]:
    """19 layers of 12 candidates: loss, then ms, MACs and parameters with a limit and a constant each."""
    size = rng.uniform(0.2, 1, (19, 12))
    noise = [rng.uniform(0.7, 1.3, (19, 12)) for _ in range(4)]
    loss = list(np.round(1 / size * noise[0], 2))
    costs = [
        list(size * noise[1]),
        list(np.rint(2e7 * size * noise[2])),
        list(np.rint(3e5 * size * noise[3])),
    ]
    limits = [sum(layer.min() + 0.3 * np.ptp(layer) for layer in cost) for cost in costs]
    return loss, costs, limits, [0.0, 1e7, 2e6]


def by_integer_programming(
    loss: Column, costs: list[Column], limits: list[float], fixed: list[float]
) -> Indices:
    """The same problem given to HiGHS, each row scaled to a limit of 1."""
    optimize = pytest.importorskip("scipy.optimize")
    layers, width = len(loss), loss[0].size
    each = np.kron(np.eye(layers), np.ones(width))
    rows = [
        np.concatenate(cost) / (limit - constant)
        for cost, limit, constant in zip(costs, limits, fixed, strict=True)
    ]
    solution = optimize.milp(
        np.concatenate(loss),
        integrality=np.ones(layers * width),
        bounds=optimize.Bounds(0, 1),
        constraints=[optimize.LinearConstraint(each, 1, 1), optimize.LinearConstraint(rows, -np.inf, 1)],
        options={"mip_rel_gap": 0.0},
    )
    return np.asarray(solution.x.reshape(layers, width).argmax(axis=1))


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_with_an_integer_programme(seed: int) -> None:
    loss, costs, limits, fixed = paper_sized(np.random.default_rng(seed))
    limits = [limit + constant for limit, constant in zip(limits, fixed, strict=True)]
    found = solve_constrained(loss, costs, limits, fixed)
    assert found is not None
    expected = total(loss, by_integer_programming(loss, costs, limits, fixed))
    assert total(loss, found) == pytest.approx(float(expected), abs=1e-6)


def test_the_answer_does_not_depend_on_the_width_of_the_beam(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, costs, limits, fixed = paper_sized(np.random.default_rng(9))
    limits = [limit + constant for limit, constant in zip(limits, fixed, strict=True)]
    wide = k_best_constrained(loss, costs, limits, fixed, 5)
    monkeypatch.setattr(constrained, "_FIRST_WIDTH", 2)
    narrow = k_best_constrained(loss, costs, limits, fixed, 5)
    np.testing.assert_array_equal(total(loss, narrow), total(loss, wide))


def small_work(monkeypatch: pytest.MonkeyPatch, work: int) -> None:
    for name in ("_WORK", "_WORK_NEAR", "_WORK_FOR_TIES"):
        monkeypatch.setattr(constrained, name, work)


@pytest.mark.parametrize("count", [1, 3])
def test_the_network_in_hand_is_kept_and_its_gap_is_a_bound(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    loss, costs, limits, fixed = paper_sized(np.random.default_rng(9))
    limits = [limit + constant for limit, constant in zip(limits, fixed, strict=True)]
    problem = loss, costs[:count], limits[:count], fixed[:count]
    proven = find_best(*problem, 5)
    assert [proven.gap(index) for index in range(5)] == [0.0] * 5
    small_work(monkeypatch, 1)
    found = find_best(*problem, 5)
    assert len(found.choices) == 5
    assert found.gap(4) > 0
    assert found.loss[0] - found.gap(0) <= proven.loss[0] + NEAR
    for cost, limit, constant in zip(problem[1], problem[2], problem[3], strict=True):
        assert (total(cost, found.choices, fixed=constant) <= limit * (1 + 1e-12)).all()


def test_neither_a_network_nor_a_proof_that_there_is_none_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    sizes = [rng.integers(1, 10**6, 4) * 2.0 + 1 for _ in range(11)]
    other = [1e7 - layer for layer in sizes]
    middle = 2.0 * (sum(layer.mean() for layer in sizes) // 2)  # even, and the sum of 11 odd numbers is not
    small_work(monkeypatch, 1)
    with pytest.raises(PonasError, match="no proof that there is none: loosen or drop a limit"):
        solve_constrained([np.zeros(4)] * 11, [sizes, other], [middle, 11e7 - middle], [0.0, 0.0])


def test_limits_that_can_be_met_one_by_one_but_not_together() -> None:
    loss, costs = [np.array([0.0, 1.0])], [[np.array([1.0, 5.0])], [np.array([5.0, 1.0])]]
    assert solve_constrained(loss, costs, [4.0, 4.0], [0.0, 0.0]) is None
    assert k_best_constrained(loss, costs, [4.0, 4.0], [0.0, 0.0], 3).shape == (0, 1)


def test_an_impossible_limit_and_its_least_possible_value() -> None:
    costs = [[np.array([1.0, 2.0])] * 2, [np.array([3e6, 1e6]), np.array([2e6, 5e6])]]
    assert smallest_possible(costs, [0.5, 1e5]) == (2.5, 3.1e6)
    assert solve_constrained([np.zeros(2)] * 2, costs, [2.4, 1e9], [0.5, 1e5]) is None
    found = solve_constrained([np.zeros(2)] * 2, costs, [2.5, 1e9], [0.5, 1e5])
    assert found is not None
    assert found.tolist() == [0, 0]


def test_a_limit_looser_than_everything_and_no_limit_give_the_least_loss() -> None:
    loss = [np.array([0.5, 0.0, 1.0]), np.array([2.0, 1.0])]
    cost = [np.array([1.0, 9.0, 1.0]), np.array([1.0, 9.0])]
    for costs, limits in (([cost], [1e9]), ([cost, cost], [np.inf, 20.0]), ([], [])):
        found = solve_constrained(loss, costs, limits, [0.0] * len(costs))
        assert found is not None
        assert found.tolist() == [1, 1]


def test_a_limit_one_mac_below_a_total_is_not_met_by_it() -> None:
    loss, macs = [np.array([0.0, 1.0])] * 2, [np.array([200_000_001.0, 100_000_000.0])] * 2
    exact = solve_constrained(loss, [macs, macs], [400_000_002.0, 1e12], [0.0, 0.0])
    below = solve_constrained(loss, [macs, macs], [400_000_001.0, 1e12], [0.0, 0.0])
    assert exact is not None
    assert below is not None
    assert exact.tolist() == [0, 0]
    assert sorted(below.tolist()) == [0, 1]


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="disagree"):
        solve_constrained([np.zeros(2)], [[np.zeros(3)]], [1.0], [0.0])
    with pytest.raises(ValueError, match="k is 0"):
        k_best_constrained([np.zeros(2)], [[np.zeros(2)]], [1.0], [0.0], 0)
    with pytest.raises(ValueError, match="shorter"):
        solve_constrained([np.zeros(2)], [[np.zeros(2)]], [], [0.0])


def test_every_architecture_is_counted_once() -> None:
    loss = [np.arange(3.0), np.arange(2.0)]
    found = k_best_constrained(loss, [loss, loss], [99.0, 99.0], [0.0, 0.0], 99)
    assert {tuple(row) for row in found.tolist()} == {tuple(row) for row in every_architecture(loss).tolist()}
