"""Fronts side by side: hand-made ones whose answers can be read off, and properties of any."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponas_deploy.errors import PonasError
from ponas_deploy.files.documents import encoded
from ponas_deploy.search.comparison import (
    NamedFront,
    compare_fronts,
    comparison_document,
    joint_front,
    round_budgets,
)
from ponas_deploy.search.frontier import Front


def front(*points: tuple[float, float]) -> Front:
    cost, loss = np.array(points, dtype=np.float64).T
    return Front(cost, loss, np.zeros((len(points), 1), dtype=np.intp))


SLOW = NamedFront("slow", front((2, 3), (4, 1), (8, 0)))
FAST = NamedFront("fast", front((1, 3), (2, 1), (4, 0)))
EARLY = NamedFront("early", front((1, 2), (10, 0)))
LATE = NamedFront("late", front((2, 2), (4, 0)))


def test_a_front_twice_as_fast_wins_everywhere() -> None:
    comparison = compare_fronts([SLOW, FAST])
    assert comparison.slowdown == pytest.approx((2.0, 1.0))
    assert comparison.dominated_pct == ((0.0, 100.0), (0.0, 0.0))
    assert all(row.winners == (1,) for row in comparison.by_budget)
    assert comparison.verdict == "fast wins at every budget: at equal loss 2.00 times as fast as slow."


def test_of_three_the_next_best_is_named() -> None:
    slowest = NamedFront("slowest", front((4, 3), (8, 1), (16, 0)))
    verdict = compare_fronts([slowest, FAST, SLOW]).verdict
    assert verdict == "fast wins at every budget: at equal loss 2.00 times as fast as slow, the next best."


def test_hypervolume_is_the_dominated_share_of_the_box() -> None:
    comparison = compare_fronts([SLOW, FAST])
    # The box goes from (1 ms, 0 pp) to (8 ms, 3 pp): 21. SLOW has 4 x 2 of it, FAST 2 x 2 + 4 x 3.
    assert comparison.reference == (8.0, 3.0)
    assert comparison.hypervolume_pct == pytest.approx((100 * 8 / 21, 100 * 16 / 21))


def test_fronts_that_cross_are_named_with_their_ranges() -> None:
    comparison = compare_fronts([EARLY, LATE])
    assert comparison.verdict.startswith("early wins up to ")
    assert " and late wins from " in comparison.verdict
    assert comparison.dominated_pct == ((50.0, 0.0), (0.0, 50.0)) or comparison.dominated_pct[0][1] == 50.0


def test_equal_fronts_tie() -> None:
    comparison = compare_fronts([FAST, NamedFront("other", FAST.front)])
    assert all(row.winners == (0, 1) for row in comparison.by_budget)
    assert comparison.verdict == "fast and other are equal at every budget."
    assert comparison.dominated_pct == ((0.0, 0.0), (0.0, 0.0))


def test_a_budget_below_a_fronts_fastest_is_nothing() -> None:
    first = compare_fronts([SLOW, FAST]).by_budget[0]
    assert first.budget_ms == 1.0
    assert first.best_within[0] is None
    assert first.best_within[1] is not None


def test_a_front_of_no_time_wins_without_a_factor() -> None:
    found = compare_fronts([NamedFront("nothing", front((0, 0))), NamedFront("some", front((1, 0)))])
    assert found.slowdown == (1.0, 1.0)
    assert found.verdict == "nothing wins at every budget."


def test_single_points_compare_too() -> None:
    one, other = NamedFront("one", front((1, 1))), NamedFront("other", front((1, 1)))
    assert compare_fronts([one, other]).hypervolume_pct == (100.0, 100.0)


def test_one_front_is_not_compared() -> None:
    with pytest.raises(PonasError, match="give two latency tables or more"):
        compare_fronts([SLOW])


def test_the_document_is_json_by_name() -> None:
    document = json.loads(json.dumps(encoded(comparison_document(compare_fronts([SLOW, FAST])))))
    assert document["dominated_pct"] == {"slow": {"fast": 100.0}, "fast": {"slow": 0.0}}
    assert document["by_budget"][0]["best"]["slow"] is None
    assert document["by_budget"][0]["winners"] == ["fast"]


def test_the_joint_front_takes_the_best_of_all() -> None:
    assert joint_front([EARLY.front, LATE.front]) == [(0, 0), (1, 1)]
    assert joint_front([SLOW.front, FAST.front]) == [(1, 0), (1, 1), (1, 2)]


@st.composite
def any_front(draw: st.DrawFn) -> Front:
    steps = draw(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=8))
    cost = np.cumsum([step for step, _ in steps]) / 10
    loss = np.cumsum([drop for _, drop in steps])[::-1] / 10
    return Front(cost, loss - loss[-1], np.zeros((len(steps), 1), dtype=np.intp))


@settings(deadline=None)
@given(st.lists(any_front(), min_size=2, max_size=4))
def test_what_holds_for_any_fronts(fronts: list[Front]) -> None:
    comparison = compare_fronts([NamedFront(str(index), front) for index, front in enumerate(fronts)])
    assert all(0 <= share <= 100 + 1e-9 for share in comparison.hypervolume_pct)
    assert all(0 <= share <= 100 for row in comparison.dominated_pct for share in row)
    assert min(comparison.slowdown) == pytest.approx(1.0)
    for row in comparison.by_budget:
        assert row.winners
        least_pp = min(best.loss_pp for best in row.best_within if best is not None)
        for winner in row.winners:
            best = row.best_within[winner]
            assert best is not None
            assert best.loss_pp == pytest.approx(least_pp)
            assert best.latency_ms <= row.budget_ms * (1 + 1e-9)
    points = [(fronts[f].cost[p], fronts[f].loss[p]) for f, p in joint_front(fronts)]
    for (cost, loss), (next_cost, next_loss) in pairwise(points):
        assert cost < next_cost
        assert loss > next_loss
    assert points[-1][1] == min(front.loss[-1] for front in fronts)


@settings(deadline=None)
@given(any_front(), st.integers(3, 12))
def test_round_budgets_reach_both_ends_and_ascend(found: Front, rows: int) -> None:
    budgets = round_budgets([found], rows)
    assert budgets[0] >= found.cost[0] * (1 - 1e-9)
    assert budgets[-1] >= found.cost[-1] * (1 - 1e-9)
    assert list(budgets) == sorted(set(budgets))
    assert len(budgets) <= rows
    (lone,) = round_budgets([found], 1)
    assert budgets[0] * (1 - 1e-9) <= lone <= budgets[-1] * (1 + 1e-9)
