"""Kinds of instances that are hard for a knapsack search: small ones by brute force, larger ones by HiGHS."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_constrained import by_integer_programming, fitting, limits_between

from ponas_deploy.search import frontier
from ponas_deploy.search.columns import total
from ponas_deploy.search.constrained import find_best
from ponas_deploy.search.frontier import exact_front
from small_spaces import Column, every_total

NEAR = 1e-9
KINDS = ("typical", "convex", "anti-correlated", "subset sum", "powers of two", "zero cost", "equal cells")


def tables(kind: str, layers: int, candidates: int, rng: np.random.Generator) -> tuple[Column, Column]:
    """Cost and loss of a small instance of a kind."""
    cost = [rng.uniform(0.1, 1, candidates) for _ in range(layers)]
    if kind == "powers of two":
        cost = [np.arange(candidates) * 2.0**layer for layer in range(layers)]
        return cost, [layer[::-1] for layer in cost]
    if kind == "zero cost":
        return [np.where(rng.random(candidates) < 0.4, 0.0, layer) for layer in cost], [1 - c for c in cost]
    if kind == "equal cells":
        return [np.round(layer, 0) for layer in cost], [np.round(1 - layer, 0) for layer in cost]
    if kind == "convex":
        return cost, [rng.uniform(0.5, 2) * (1.1 - layer) ** 2 for layer in cost]
    noise = {"typical": 0.1, "anti-correlated": 0.01, "subset sum": 0.0}[kind]
    loss = [1.1 - layer + rng.normal(0, noise, candidates) for layer in cost]
    return cost, [np.round(layer, 2) for layer in loss] if kind == "typical" else loss


def other_costs(cost: Column, count: int, rng: np.random.Generator) -> list[Column]:
    noise = [[rng.uniform(0.7, 1.3, layer.size) for layer in cost] for _ in range(count)]
    return [[np.rint(1e6 * a * b) for a, b in zip(cost, one, strict=True)] for one in noise]


@given(st.sampled_from(KINDS), st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 12))
def test_the_k_best_of_every_kind_are_those_of_brute_force(kind: str, seed: int, limits: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    cost, loss = tables(kind, 4, 4, rng)
    costs = [cost, *other_costs(cost, limits - 1, rng)]
    totals = [every_total(column) for column in costs]
    asked = limits_between(totals, list(rng.uniform(0, 1, limits)))
    fits = fitting(totals, asked)
    found = find_best(loss, costs, asked, [0.0] * limits, k)
    expected = np.sort(every_total(loss)[fits])[:k]
    assert found.loss == pytest.approx(expected, abs=NEAR)
    assert len(np.unique(found.choices, axis=0)) == len(found.choices)
    assert [found.gap(index) for index in range(len(found.loss))] == [0.0] * len(expected)
    if len(found.loss) < fits.sum():
        assert found.least_outside <= np.sort(every_total(loss)[fits])[len(found.loss)] + NEAR


@pytest.mark.parametrize("limits", [1, 3])
@pytest.mark.parametrize("kind", KINDS[:5])
def test_larger_ones_agree_with_an_independent_reference(kind: str, limits: int) -> None:
    rng = np.random.default_rng(3)
    enumerated = kind == "subset sum"  # HiGHS needs half a minute even for a few layers of it
    cost, loss = tables(kind, 6 if enumerated else 14, 9, rng)
    costs = [cost, *other_costs(cost, limits - 1, rng)]
    asked = [sum(layer.min() + 0.37 * np.ptp(layer) for layer in column) for column in costs]
    found = find_best(loss, costs, asked, [0.0] * limits, 1)
    if enumerated:
        best = every_total(loss)[fitting([every_total(column) for column in costs], asked)].min()
    else:
        best = total(loss, by_integer_programming(loss, costs, asked, [0.0] * limits))
    assert found.loss[0] <= best * (1 + 1e-6)
    assert found.loss[0] - found.gap(0) <= best * (1 + 1e-6)
    assert found.gap(0) <= 1e-4 * found.loss[0]


@given(st.sampled_from(KINDS), st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_a_thinned_front_is_as_near_as_it_says(kind: str, seed: int, merged: int) -> None:
    cost, loss = tables(kind, 5, 4, np.random.default_rng(seed))
    true = exact_front(cost, loss, fixed_cost=0.25)
    assert true.complete
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frontier, "MOST_MERGED", 4 * merged)
        patch.setattr(frontier, "_MOST_THINNED", 4 * merged)
        found = exact_front(cost, loss, fixed_cost=0.25)
    np.testing.assert_allclose(total(cost, found.choices, fixed=0.25), found.cost)
    np.testing.assert_allclose(total(loss, found.choices), found.loss, atol=NEAR)
    for c, v in zip(true.cost, true.loss, strict=True):
        near = (found.cost <= c * (1 + found.cost_gap) + NEAR) & (found.loss <= v + found.loss_gap + NEAR)
        assert near.any()
