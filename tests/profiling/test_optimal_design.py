"""Optimal design: the networks after which the variance of all is least."""

from __future__ import annotations

import numpy as np

from ponas_deploy.fitting.correction import USUAL, design
from ponas_deploy.profiling.optimal_design import most_informative
from ponas_deploy.profiling.spread import varied_networks
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.named import accuracy_table
from searchspace import build_space
from searchspace.cost import cost_table, count_macs

SPACE = build_space("ponas")
GRID = Grid.over(SPACE, cost_table(count_macs, SPACE)[1])
LOSSES = accuracy_table("ponas").loss.arrays()
"""Of a real table: where every network were on the front (loss = -MACs), the front is thinned."""
NETWORKS = [GRID.labels(choices) for choices in varied_networks(GRID.arrays(), LOSSES, 20, seed=0)]


def variance_left(timed: list[int]) -> float:
    """The variance that is left over all networks, by the closed form: V - V_t (V_tt + noise)^-1 V_t'."""
    columns = design(GRID, SPACE.cells())
    rows = columns.rows(GRID, NETWORKS)
    rows[:, 0] = (sums := np.array([GRID.total(choices) for choices in NETWORKS])).mean()
    rows = rows / sums[:, None]
    all_of = (rows * USUAL.columns(columns.kinds)) @ rows.T
    own, shared = all_of[np.ix_(timed, timed)] + USUAL.noise * np.eye(len(timed)), all_of[:, timed]
    return float(np.trace(all_of - shared @ np.linalg.solve(own, shared.T)))


def test_each_network_leaves_the_least_variance_beside_those_before() -> None:
    chosen = most_informative(GRID, SPACE.cells(), NETWORKS, 4, [])
    assert len(set(chosen)) == 4
    for number, place in enumerate(chosen):
        by_place = {other: variance_left([*chosen[:number], other]) for other in range(len(NETWORKS))}
        assert by_place[place] <= min(by_place.values()) * (1 + 1e-6)


def test_they_leave_less_variance_than_as_many_at_random() -> None:
    rng = np.random.default_rng(0)
    drawn = [variance_left(list(rng.choice(len(NETWORKS), 12, replace=False))) for _ in range(20)]
    assert variance_left(most_informative(GRID, SPACE.cells(), NETWORKS, 12, [])) < min(
        0.75 * np.mean(drawn), min(drawn)
    )


def test_what_is_known_is_not_asked_again() -> None:
    first = most_informative(GRID, SPACE.cells(), NETWORKS, 6, [])
    known = [NETWORKS[place] for place in first[:3]]
    assert most_informative(GRID, SPACE.cells(), NETWORKS, 3, known) == first[3:]
    assert len(most_informative(GRID, SPACE.cells(), NETWORKS[:5], 9, [])) == 5
