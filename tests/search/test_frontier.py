from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ponas_deploy.search.columns import cost_of_least_loss, least_cost, swamping_cell, total
from ponas_deploy.search.constrained import k_best
from ponas_deploy.search.frontier import Front, best_within, exact_front
from searchspace.errors import PonasError
from small_spaces import Column, Floats, every_architecture, every_total, spaces

NEAR = 1e-9


def front_by_brute_force(cost: Floats, loss: Floats) -> list[tuple[float, float]]:
    """The non-dominated points, after rounding away what the order of adding leaves."""
    points = sorted({(round(c, 9) + 0.0, round(v, 9) + 0.0) for c, v in zip(cost, loss, strict=True)})
    front: list[tuple[float, float]] = []
    for point in points:
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


@given(spaces(2, ("ties", "hundredths", "signed", "macs")), st.integers(0, 100).map(lambda n: n / 10))
@example(([np.array([0.1, 0.3]), np.array([0.2, 0.0])], [np.array([0.7, 0.1]), np.array([0.0, 0.6])]), 0.0)
def test_the_front_is_that_of_brute_force(tables: tuple[Column, Column], fixed: float) -> None:
    cost, loss = tables
    front = exact_front(cost, loss, fixed_cost=fixed)
    expected = front_by_brute_force(every_total(cost, fixed), every_total(loss))
    assert list(zip(front.cost, front.loss, strict=True)) == [pytest.approx(point) for point in expected]


@given(spaces(2))
def test_nothing_beats_the_front_and_nothing_in_it_repeats(tables: tuple[Column, Column]) -> None:
    cost, loss = tables
    front = exact_front(cost, loss)
    for c, v in zip(every_total(cost), every_total(loss), strict=True):
        assert ((front.cost <= c + NEAR) & (front.loss <= v + NEAR)).any()
    assert (np.diff(front.cost) > 0).all()
    assert (np.diff(front.loss) < 0).all()


@given(spaces(2))
def test_choices_add_up_to_their_cost_and_loss(tables: tuple[Column, Column]) -> None:
    cost, loss = tables
    front = exact_front(cost, loss, fixed_cost=1.25)
    assert front.choices.shape == (front.cost.size, len(cost))
    for row, c, v in zip(front.choices, front.cost, front.loss, strict=True):
        assert c == pytest.approx(1.25 + sum(layer[i] for layer, i in zip(cost, row, strict=True)), abs=NEAR)
        assert v == pytest.approx(sum(layer[i] for layer, i in zip(loss, row, strict=True)), abs=NEAR)
    np.testing.assert_array_equal(total(cost, front.choices, fixed=1.25), front.cost)
    np.testing.assert_array_equal(total(loss, front.choices), front.loss)


@given(spaces(2))
@example(([np.array([0.0, 1.0])], [np.array([1e-13, 0.0])]))
@example(([np.zeros(1), np.array([0.0, 1.0])], [np.ones(1), np.array([1e-13, 0.0])]))
def test_the_ends_of_the_front_are_the_cheapest_and_the_best(tables: tuple[Column, Column]) -> None:
    cost, loss = tables
    front = exact_front(cost, loss, fixed_cost=0.5)
    assert least_cost(cost, fixed_cost=0.5) == pytest.approx(front.cost[0], abs=NEAR)
    assert cost_of_least_loss(cost, loss, fixed_cost=0.5) >= front.cost[-1] - NEAR
    assert front.loss[-1] == pytest.approx(every_total(loss).min(), abs=NEAR)


@given(spaces(2, ("ties", "hundredths", "signed", "macs")))
def test_the_least_loss_costs_what_the_end_of_the_front_costs(tables: tuple[Column, Column]) -> None:
    """Where no two losses differ by less than rounding: the front takes such two for one."""
    cost, loss = tables
    front = exact_front(cost, loss, fixed_cost=0.5)
    assert cost_of_least_loss(cost, loss, fixed_cost=0.5) == pytest.approx(front.cost[-1], abs=NEAR)


def test_the_same_sum_in_another_order_is_the_same_point() -> None:
    cost = [np.array([0.1, 0.2, 0.3])] * 3
    loss = [np.array([0.3, 0.2, 0.1])] * 3
    front = exact_front(cost, loss)
    assert front.cost.tolist() == [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert front.loss.tolist() == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]


def test_points_that_differ_by_rounding_are_one() -> None:
    almost = 1 - 2e-15
    by_cost = exact_front([np.array([almost, 1.0])], [np.array([0.5, 0.0])])
    assert by_cost.choices.tolist() == [[1]]
    by_loss = exact_front([np.array([0.5, 0.7])], [np.array([1.0, almost])])
    assert by_loss.choices.tolist() == [[0]]
    by_both = exact_front([np.array([almost, 1.0])], [np.array([1.0, almost])])
    assert by_both.choices.shape == (1, 1)


@pytest.mark.parametrize("budget", [0.6, 0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1])
def test_a_budget_is_met_by_the_sum_it_was_added_up_from(budget: float) -> None:
    cost = [np.array([0.1, 0.4]), np.array([0.2, 0.5]), np.array([0.3, 0.6])]
    loss = [np.array([1.0, 0.0])] * 3
    front = exact_front(cost, loss)
    assert best_within(front, budget) == 0
    assert len(k_best(cost, loss, budget, 5).cost) == 1


def test_best_within() -> None:
    front = Front(np.array([1.0, 2.0, 4.0]), np.array([3.0, 1.0, 0.0]), np.zeros((3, 1), dtype=np.intp))
    assert [best_within(front, budget) for budget in (0.99, 1, 1.5, 2, 3.99, 4, np.inf)] == [
        None, 0, 0, 1, 1, 2, 2,
    ]  # fmt: skip


@given(spaces(2), st.floats(0, 1), st.integers(1, 12))
def test_k_best_is_the_head_of_the_sorted_space(
    tables: tuple[Column, Column], tightness: float, k: int
) -> None:
    cost, loss = tables
    costs, losses = every_total(cost, 2.5), every_total(loss)
    budget = costs.min() + tightness * (costs.max() - costs.min())
    found = k_best(cost, loss, budget, k, fixed_cost=2.5)
    fits = costs <= budget + 1e-12 * abs(budget)
    assert len(found.loss) == min(k, fits.sum())
    assert found.loss == pytest.approx(np.sort(losses[fits])[:k], abs=NEAR)
    assert len(np.unique(found.choices, axis=0)) == len(found.choices)
    assert (found.cost <= budget + 1e-12 * abs(budget)).all()
    np.testing.assert_array_equal(total(cost, found.choices, fixed=2.5), found.cost)
    np.testing.assert_array_equal(total(loss, found.choices), found.loss)


@given(spaces(2, ("ties",)), st.integers(0, 12), st.integers(1, 12))
def test_k_best_orders_ties_by_cost(tables: tuple[Column, Column], budget: int, k: int) -> None:
    cost, loss = tables
    found = k_best(cost, loss, budget, k)
    everything = zip(every_total(loss), every_total(cost), strict=True)
    expected = sorted(point for point in everything if point[1] <= budget)[:k]
    assert list(zip(found.loss, found.cost, strict=True)) == expected


@given(spaces(2))
def test_the_first_of_k_best_is_on_the_front(tables: tuple[Column, Column]) -> None:
    cost, loss = tables
    front = exact_front(cost, loss)
    for index, budget in enumerate(front.cost):
        assert best_within(front, budget) == index
        first = k_best(cost, loss, budget, 1)
        assert (first.cost[0], first.loss[0]) == pytest.approx((budget, front.loss[index]), abs=NEAR)


def test_an_impossible_budget_has_no_best() -> None:
    cost, loss = [np.array([1.0, 2.0])] * 2, [np.array([1.0, 0.0])] * 2
    assert best_within(exact_front(cost, loss), 1.99) is None
    assert k_best(cost, loss, 1.99, 3).choices.shape == (0, 2)


def test_the_largest_space_of_the_paper_agrees_with_itself() -> None:
    rng = np.random.default_rng(0)
    cost, loss = list(rng.uniform(0.1, 1, (19, 12))), list(rng.uniform(0, 1, (19, 12)))
    forwards, backwards = exact_front(cost, loss), exact_front(cost[::-1], loss[::-1])
    np.testing.assert_array_equal(forwards.cost, backwards.cost)
    np.testing.assert_array_equal(forwards.loss, backwards.loss)


@pytest.mark.parametrize(
    ("cost", "loss", "message"),
    [
        ([np.zeros(2)], [np.zeros(3)], "disagree"),
        ([np.zeros(2)], [np.zeros(2)] * 2, "disagree"),
        ([np.zeros(0)], [np.zeros(0)], "layer 0 needs one finite number a candidate"),
        ([np.zeros(1), np.array([np.nan])], [np.zeros(1)] * 2, "layer 1 needs one finite number a candidate"),
        ([], [], "a table needs layers"),
    ],
)
def test_tables_that_do_not_fit_are_refused(cost: Any, loss: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exact_front(cost, loss)
    with pytest.raises(ValueError, match=message):
        k_best(cost, loss, 1.0, 1)


FORBIDDING = (
    [np.array([1.1, 2.2]), np.array([1.3, 2.6, 1e16])],
    [np.array([1.0, 0.0]), np.array([1.0, 0.0, 0.0])],
)


def test_a_cell_that_forbids_a_candidate_hides_no_other() -> None:
    cost, loss = FORBIDDING
    assert least_cost(cost) == 2.4
    found = k_best(cost, loss, 2.5, 9)
    assert (found.choices.tolist(), found.cost.tolist()) == ([[0, 0]], [2.4])
    found = k_best(cost, loss, 4.8, 9)
    assert found.cost.tolist() == [4.8, 3.5, 3.7, 2.4]
    assert len(k_best(cost, loss, 2.4, 9).cost) == 1
    assert len(k_best(cost, loss, 2.3, 9).cost) == 0


def test_a_cell_too_large_for_exact_sums_is_refused_by_its_place() -> None:
    cost, loss = FORBIDDING
    for refused in (
        lambda: exact_front(cost, loss),
        lambda: k_best(loss, cost, 2.5, 1),
        lambda: k_best(cost, loss, 1e17, 1),
        lambda: total(cost, np.array([0, 0])),
    ):
        with pytest.raises(PonasError, match=r"^layer 2, candidate 3 is 1e\+16, too large to be added up"):
            refused()
    with pytest.raises(PonasError, match=r"^layer 1, candidate 2 is 1e\+308"):
        exact_front([np.array([1.0, 1e308]), np.array([1.0, 1e308])], [np.zeros(2)] * 2)


def test_a_large_cell_that_the_grid_can_hold_is_taken() -> None:
    front = exact_front([np.array([1.0, 2.0]), np.array([3.0, 1e11])], [np.array([1.0, 0.0])] * 2)
    assert front.cost.tolist() == [4.0, 5.0, 1e11 + 2]


MIXED = st.builds(lambda digits, exponent: digits * 10.0**exponent, st.integers(1, 9999), st.integers(-6, 14))


@st.composite
def mixed_spaces(draw: st.DrawFn) -> tuple[Column, Column]:
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    usual = st.integers(1, 999).map(lambda hundredths: hundredths / 100)
    cell = st.one_of(usual, usual, MIXED)
    cost, loss = ([np.array(draw(st.lists(c, min_size=n, max_size=n))) for n in sizes] for c in (cell, cell))
    return cost, loss


@given(mixed_spaces(), st.integers(0, 26))
@example(FORBIDDING, 0)
def test_any_magnitudes_give_the_right_network_or_a_refusal(tables: tuple[Column, Column], rank: int) -> None:
    cost, loss = tables
    costs, losses = every_total(cost), every_total(loss)
    budget = float(np.sort(costs)[min(rank, len(costs) - 1)])
    try:
        found = k_best(cost, loss, budget, 1)
    except PonasError:
        swamped = [swamping_cell(column) is not None for column in tables]
        assert any(swamped)
    else:
        row = every_architecture(cost).tolist().index(found.choices[0].tolist())
        assert costs[row] <= budget * (1 + NEAR) + NEAR
        assert losses[row] <= losses[costs <= budget].min() * (1 + NEAR) + NEAR
    try:
        front = exact_front(cost, loss)
    except PonasError:
        return
    for c, v in zip(costs, losses, strict=True):
        assert ((front.cost <= c * (1 + NEAR) + NEAR) & (front.loss <= v * (1 + NEAR) + NEAR)).any()


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        k_best([np.zeros(1)], [np.zeros(1)], 1.0, 0)
