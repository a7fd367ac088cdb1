"""Networks spread over the latency range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponas_deploy.profiling.spread import evenly, spread_networks, tilted, total, varied_networks
from ponas_deploy.search.frontier import exact_front

COSTS = [np.random.default_rng(layer).uniform(1, 10, 12) for layer in range(19)]


def test_networks_are_different_ascend_and_reach_both_ends() -> None:
    found = spread_networks(COSTS, 60, seed=1)
    totals = np.array([total(COSTS, choices) for choices in found])
    assert len(set(found)) == 60
    assert (np.diff(totals) >= 0).all()
    least, most = (sum(pick(layer) for layer in COSTS) for pick in (np.min, np.max))
    places = (totals - least) / (most - least)
    assert places[0] < 0.15
    assert places[-1] > 0.85
    assert np.diff(places).max() < 0.1
    assert found == spread_networks(COSTS, 60, seed=1)
    assert found != spread_networks(COSTS, 60, seed=2)


def test_some_are_spread_some_of_the_front_and_some_at_random() -> None:
    losses = [-values + np.random.default_rng(99).normal(0, 2, values.size) for values in COSTS]
    found = varied_networks(COSTS, losses, 20, seed=1)
    assert len(set(found)) == len(found) == 60
    assert found[:20] == spread_networks(COSTS, 20, seed=1)
    best = {tuple(row) for row in exact_front(COSTS, losses).choices.tolist()}
    assert [choices in best for choices in found] == [False] * 40 + [True] * 20
    at_random = [total(COSTS, choices) for choices in found[20:40]]
    assert np.std(at_random) < 0.5 * np.std([total(COSTS, choices) for choices in found[:20]])


def test_evenly_takes_from_the_whole_row() -> None:
    assert evenly(range(10), 5) == [1, 3, 5, 7, 9]
    assert evenly(range(3), 5) == [0, 1, 2]
    assert evenly((), 5) == evenly(range(3), 0) == []


def test_layers_vary_on_their_own() -> None:
    found = np.array(spread_networks(COSTS, 60, seed=1))
    assert min(len(set(column)) for column in found.T) >= 8


@given(st.floats(0.06, 0.94))
def test_the_tilt_meets_its_target(place: float) -> None:
    least, most = (sum(float(pick(layer)) for layer in COSTS) for pick in (np.min, np.max))
    target = least + place * (most - least)
    chances = tilted(COSTS, target)
    assert sum(float(p @ c) for p, c in zip(chances, COSTS, strict=True)) == pytest.approx(target, rel=1e-3)


def test_a_small_space_gives_what_it_has() -> None:
    found = spread_networks([[1, 2], [3, 9]], 28, seed=0)
    assert len(found) == 4
    assert spread_networks([[1.0], [2.0]], 5, seed=0) == ((0, 0),)
