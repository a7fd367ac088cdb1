"""Networks spread over the latency range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponas_deploy.calibrate import LEAST_CHECK, LEAST_FIT
from ponas_deploy.spread import divide, spread_networks, tilted, total

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


@given(st.integers(LEAST_FIT + LEAST_CHECK, 200))
def test_dividing_leaves_enough_on_both_sides(count: int) -> None:
    checks = divide(count, LEAST_FIT, LEAST_CHECK, 40)
    assert len(checks) == count
    assert LEAST_CHECK <= sum(checks) <= 40
    assert count - sum(checks) >= LEAST_FIT
    assert not checks[0]
    assert not checks[-1]
