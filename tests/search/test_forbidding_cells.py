"""Cells that forbid a candidate, and cells of nothing: every search takes them, or names the cell."""

from __future__ import annotations

import numpy as np
import pytest

from ponas_deploy.errors import PonasError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.comparison import NamedFront, compare_fronts, round_budgets, thinned_warnings
from ponas_deploy.search.costs import limits_of
from ponas_deploy.search.frontier import Front
from ponas_deploy.search.pareto import front, pareto_front
from ponas_deploy.search.sides import budget_from
from ponas_deploy.search.specialize import specialize
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable

LAYERS, LABELS = ("one", "two"), (("a", "b"), ("x", "y", "z"))
LOSSES = AccuracyTable(Grid(LAYERS, LABELS, ((1.0, 0.0), (1.0, 0.0, 0.5))))


def latencies(forbidding: float) -> LatencyTable:
    return LatencyTable(Grid(LAYERS, LABELS, ((1.1234567891, 2.2345678912), (1.3, 2.6, forbidding))))


def test_a_percentage_and_the_genetic_algorithm_take_a_cell_that_forbids() -> None:
    table = latencies(1e16)
    budget = budget_from(limits_of({"latency": "100%"}), [table], LOSSES)
    assert budget.latency_ms == pytest.approx(4.8345678912)
    for method in ("exact", "ga"):
        assert specialize(table, LOSSES, budget, method=method).choices == ("b", "y")


def test_a_front_refuses_it_by_its_labels() -> None:
    with pytest.raises(
        PonasError, match=r"^layer 'two', candidate 'z' of the latency table is 1e\+16, too large"
    ):
        front(latencies(1e16), LOSSES)
    worse = AccuracyTable(Grid(LAYERS, LABELS, ((1.1234567891, 0.0), (1.0, 0.0, 1e16))))
    with pytest.raises(PonasError, match="layer 'two', candidate 'z' of the accuracy table"):
        specialize(latencies(3.0), worse, Budget(latency_ms=4.0))


def test_cells_of_nothing_are_costs_like_others() -> None:
    table = LatencyTable(Grid(LAYERS, LABELS, ((0.0, 2.0), (0.0, 3.0, 1.0))))
    found = pareto_front(table, LOSSES)
    assert [point.latency_ms for point in found.points] == [0.0, 1.0, 2.0, 3.0, 5.0]
    assert (found.latency_gap_pct, found.loss_gap_pp) == (0.0, 0.0)
    assert specialize(table, LOSSES, Budget(latency_ms=1.0)).choices == ("a", "z")
    assert round_budgets([front(table, LOSSES)], 10)[0] == 0.0


def test_a_front_that_is_cut_says_by_how_much() -> None:
    cut = Front(np.array([1.0, 2.0]), np.array([1.0, 0.0]), np.zeros((2, 1), dtype=np.intp), 1e-4, 0.02)
    (warning,) = thinned_warnings([NamedFront("mine", cut)])
    assert "cut to 2, and every network of the complete one" in warning
    assert "at most 0.01 % longer and loses at most 0.02 points more" in warning
    assert compare_fronts([NamedFront("mine", cut), NamedFront("yours", cut)]).verdict.startswith("mine and")
