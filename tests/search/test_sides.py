"""Several resolutions: the merged front against brute force over all of them, and budgets over them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ponas_deploy as ponas
from ponas_deploy.errors import BudgetError, TableMismatchError
from ponas_deploy.search.comparison import joint_front
from ponas_deploy.search.costs import limits_of
from ponas_deploy.search.sides import budget_over, comparable, fronts_of, side_warnings, sides_of
from ponas_deploy.tables.accuracy import AccuracyOrigin, AccuracyTable
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.resolution_terms import ResolutionTerm, ResolutionTerms
from ponas_deploy.tables.top1 import Top1Scale
from small_spaces import Column, every_total, spaces

PX = (24, 28, 32)
TERMS = ResolutionTerms((ResolutionTerm(24, 2.5), ResolutionTerm(32, 0.0)), 0.2, "a plan")
ORIGIN = AccuracyOrigin("photos", "ridge", 32, 10, 0, (), 0)
SCALES = (None, Top1Scale("points", 90.0), Top1Scale("log-error", 90.0, 40.0, 2.0))


def grid(column: Column) -> Grid:
    labels = tuple(tuple(map(str, range(layer.size))) for layer in column)
    return Grid(
        tuple(map(str, range(len(column)))), labels, tuple(tuple(map(float, layer)) for layer in column)
    )


def latency(column: Column, resolution: int) -> LatencyTable:
    return LatencyTable(grid(column), SpaceKey("small", "f", resolution, 10))


def accuracy(column: Column, scale: Top1Scale | None) -> AccuracyTable:
    return AccuracyTable(grid(column), origin=ORIGIN, top1_scale=scale, resolution_terms=TERMS)


@given(spaces(4, ("ties", "hundredths", "macs")), st.sampled_from(SCALES))
def test_the_merged_front_is_that_of_all_networks_at_all_resolutions(
    columns: tuple[Column, ...], scale: Top1Scale | None
) -> None:
    *costs, loss = columns
    loss = [layer / max(layer.max(), 1) for layer in loss]  # points of top-1, a few at most
    sides = sides_of([latency(*one) for one in zip(costs, PX, strict=True)], [accuracy(loss, scale)])
    fronts, predict = comparable(sides, [f"{px} px" for px in PX], fronts_of(sides))
    merged = [
        (fronts[which].front.cost[point], fronts[which].front.loss[point], PX[which])
        for which, point in joint_front([one.front for one in fronts])
    ]
    lost = every_total(loss)
    top1 = scale.top1_pct(lost) if scale else -lost
    for cost, px in zip(costs, PX, strict=True):
        for took, pct in zip(every_total(cost), top1 - TERMS.lost_pp(px), strict=True):
            best = (scale.top1_at_no_loss_pct if scale else 0.0) - pct
            assert any(c <= took + 1e-9 and lost_pp <= best + 1e-9 for c, lost_pp, _ in merged)
    networks = {px: (every_total(cost), top1 - TERMS.lost_pp(px)) for cost, px in zip(costs, PX, strict=True)}
    for cost_ms, lost_pp, px in merged:
        took, pct = networks[px]
        found = predict(lost_pp)
        expected = found.pct if found else -lost_pp
        assert (np.isclose(took, cost_ms) & np.isclose(pct, expected)).any(), "a network there is"
    assert [point[1] for point in merged] == sorted((point[1] for point in merged), reverse=True)


FAST, SLOW = [np.array([1.0, 2.0]), np.array([1.0, 3.0])], [np.array([2.0, 4.0]), np.array([2.0, 6.0])]
LOSSES = [np.array([2.0, 0.0]), np.array([3.0, 0.0])]


@pytest.mark.parametrize("scale", [None, SCALES[1]])
def test_the_best_network_of_two_resolutions_is_chosen(scale: Top1Scale | None) -> None:
    tables, said = [latency(FAST, 24), latency(SLOW, 32)], list[str]()
    losses = accuracy(LOSSES, scale)
    tight = ponas.specialize(tables, losses, latency_ms=5.0, on_note=said.append)
    assert (tight.resolution, tight.choices, tight.predicted_ms) == (24, ("1", "1"), 5.0)
    assert tight.predicted_loss_pp == 2.5
    assert sum("measured at 32 px only" in text for text in said) == 1
    loose = ponas.specialize(tables, losses, latency_ms=10.0)
    assert (loose.resolution, loose.choices) == (32, ("1", "1"))
    with pytest.raises(BudgetError, match="takes 2 ms"):
        ponas.specialize(tables, losses, latency_ms=1.0)


def test_percent_is_of_where_least_is_lost() -> None:
    sides = sides_of([latency(FAST, 24), latency(SLOW, 32)], [accuracy(LOSSES, SCALES[1])])
    assert budget_over(limits_of({"latency": "50%"}), sides).latency_ms == 5.0


def test_a_percentage_below_every_network_names_the_least_that_one_meets() -> None:
    sides = sides_of([latency(FAST, 24), latency(SLOW, 32)], [accuracy(LOSSES, SCALES[1])])
    with pytest.raises(BudgetError) as refused:
        budget_over(limits_of({"latency": "15%"}), sides)
    assert str(refused.value) == (
        "no architecture meets 15 % of the most that helps, 1.5 ms: the fastest one takes 2 ms, 20 % of it."
        " Ask for 20% or more."
    )
    assert (refused.value.constraint, refused.value.asked, refused.value.least) == ("latency_ms", 1.5, 2.0)
    assert budget_over(limits_of({"latency": "20%"}), sides).latency_ms == 2.0


def test_a_table_that_knows_no_other_resolution_is_refused() -> None:
    bare = AccuracyTable(grid(LOSSES), origin=ORIGIN)
    with pytest.raises(TableMismatchError, match="and nothing says what networks lose at 24 px"):
        ponas.specialize([latency(FAST, 24), latency(SLOW, 32)], bare, latency_ms=5.0)
    assert ponas.specialize(latency(FAST, 24), bare, latency_ms=5.0).predicted_loss_pp == 0.0


def test_tables_of_each_resolution_are_compared_by_top1() -> None:
    near = AccuracyTable(grid(LOSSES), origin=ORIGIN, top1_scale=Top1Scale("points", 90.0))
    far = AccuracyTable(
        grid([layer / 2 for layer in LOSSES]),
        origin=AccuracyOrigin("photos", "ridge", 24, 10, 0, (), 0),
        top1_scale=Top1Scale("points", 88.0),
    )
    tables = [latency(FAST, 24), latency(SLOW, 32)]
    assert ponas.specialize(tables, [near, far], latency_ms=10.0).resolution == 32
    least = ponas.specialize(tables, [near, far], latency_ms=4.0)
    assert least.resolution == 24, "85.5 to 87 % there, at most 85 % in 4 ms here"
    sides = sides_of(tables, [near, far])
    fronts, predict = comparable(sides, ["a", "b"], fronts_of(sides))
    assert [float(one.front.loss[-1]) for one in fronts] == [2.0, 0.0]
    assert predict(2.0) is not None
    assert not any("only" in text for text in side_warnings(sides, ["a", "b"], fronts_of(sides)))
