"""Choosing from two tables: the optimum, its gap, several limits, and budgets that cannot be met."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponas_deploy.errors import BudgetError, PonasError, TableMismatchError, UnknownNameError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.costs import BYTES, LATENCY, MACS, cost_column
from ponas_deploy.search.pareto import front, pareto_front
from ponas_deploy.search.specialize import shortlist, slowest_useful_ms, specialize
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from searchspace import Architecture, build_space

LABELS = (("a", "b", "c"), ("x", "y"), ("p", "q", "r"))
LAYERS = ("one", "two", "three")


def latency_table(seed: int = 0) -> LatencyTable:
    rng = np.random.default_rng(seed)
    values = tuple(tuple(rng.uniform(0.5, 2.0, len(labels)).round(3)) for labels in LABELS)
    return LatencyTable(Grid(LAYERS, LABELS, values, 0.25))


def accuracy_table(seed: int = 1) -> AccuracyTable:
    rng = np.random.default_rng(seed)
    values = tuple(tuple(rng.uniform(60, 80, len(labels)).round(2)) for labels in LABELS)
    return AccuracyTable.from_top1(Grid(LAYERS, LABELS, values))


def every_network(latency: LatencyTable, accuracy: AccuracyTable) -> list[tuple[float, float]]:
    return [
        (latency.predict_ms(choices), accuracy.loss_pp(choices)) for choices in itertools.product(*LABELS)
    ]


@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.2))
def test_the_exact_choice_is_the_best_that_fits(seed: int, share: float) -> None:
    latency, accuracy = latency_table(seed), accuracy_table(seed + 1)
    networks = every_network(latency, accuracy)
    fastest, slowest = min(networks)[0], max(networks)[0]
    budget = fastest + share * (slowest - fastest)
    found = specialize(latency, accuracy, Budget(latency_ms=budget))
    assert found.predicted_ms <= budget * (1 + 1e-9)
    best = min(loss for cost, loss in networks if cost <= budget * (1 + 1e-12))
    assert found.predicted_loss_pp == pytest.approx(best)
    assert (found.gap_pp, found.optimal) == (0.0, True)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_genetic_algorithm_never_beats_the_optimum(seed: int) -> None:
    latency, accuracy = latency_table(seed), accuracy_table(seed)
    budget = Budget(latency_ms=sorted(cost for cost, _ in every_network(latency, accuracy))[5])
    exact = specialize(latency, accuracy, budget)
    genetic = specialize(latency, accuracy, budget, method="ga", seed=seed)
    assert genetic.predicted_ms <= (budget.latency_ms or 0) * (1 + 1e-9)
    assert genetic.gap_pp == pytest.approx(genetic.predicted_loss_pp - exact.predicted_loss_pp)
    assert genetic.gap_pp is not None
    assert genetic.gap_pp >= 0
    assert genetic.optimal == (genetic.gap_pp == 0)


def test_a_loose_budget_gives_the_best_network() -> None:
    latency, accuracy = latency_table(), accuracy_table()
    found = specialize(latency, accuracy, Budget(latency_ms=1e9))
    assert found.predicted_loss_pp == 0
    assert found.predicted_ms == pytest.approx(slowest_useful_ms(latency, accuracy))


def test_an_impossible_budget_names_the_fastest_there_is() -> None:
    latency, accuracy = latency_table(), accuracy_table()
    fastest = min(every_network(latency, accuracy))[0]
    with pytest.raises(BudgetError, match=r"fastest one takes \d") as caught:
        specialize(latency, accuracy, Budget(latency_ms=0.1))
    assert caught.value.least == pytest.approx(fastest)
    shown = float(str(caught.value).split("Ask for ")[1].split(" ms")[0])
    assert specialize(latency, accuracy, Budget(latency_ms=shown)).predicted_ms <= shown


def test_the_front_is_complete_and_sorted() -> None:
    latency, accuracy = latency_table(3), accuracy_table(4)
    networks = every_network(latency, accuracy)
    expected = {
        (round(cost, 9), round(loss, 9))
        for cost, loss in networks
        if not any(c <= cost and v <= loss and (c, v) != (cost, loss) for c, v in networks)
    }
    found = front(latency, accuracy)
    assert {(round(c, 9), round(v, 9)) for c, v in zip(found.cost, found.loss, strict=True)} == expected
    assert list(found.cost) == sorted(found.cost)


def test_a_shortlist_is_in_order() -> None:
    latency, accuracy = latency_table(), accuracy_table()
    fits = sorted(loss for cost, loss in every_network(latency, accuracy) if cost <= 3.5)
    found = shortlist(latency, accuracy, Budget(latency_ms=3.5), 5)
    assert [solution.predicted_loss_pp for solution in found] == pytest.approx(fits[:5])
    with pytest.raises(PonasError, match="1 or more"):
        shortlist(latency, accuracy, Budget(latency_ms=3.5), 0)


def ponas_tables(seed: int = 0) -> tuple[LatencyTable, AccuracyTable]:
    space, rng = build_space("ponas"), np.random.default_rng(seed)
    layers = tuple(layer.name for layer in space.layers)
    cells = tuple(tuple(rng.uniform(0.05, 0.5, 12)) for _ in layers)
    top1 = tuple(tuple(rng.uniform(70, 75, 12)) for _ in layers)
    latency = LatencyTable(Grid(layers, space.labels, cells, 0.3), space=SpaceKey.of(space))
    return latency, AccuracyTable.from_top1(Grid(layers, space.labels, top1), space=SpaceKey.of(space))


def test_several_limits_hold_at_once() -> None:
    latency, accuracy = ponas_tables()
    space = build_space("ponas")
    budget = Budget(latency_ms=3.5, macs=330e6, params=5.1e6, bytes=21e6)
    found = specialize(latency, accuracy, budget, space=space)
    architecture = Architecture(space, found.choices)
    assert found.predicted_ms <= 3.5
    for column, limit in (("macs", 330e6), ("params", 5.1e6), ("bytes", 21e6)):
        spent = cost_column(column).source.network(architecture)
        assert spent is not None
        assert spent <= limit
    looser = specialize(latency, accuracy, Budget(latency_ms=3.5), space=space)
    assert looser.predicted_loss_pp <= found.predicted_loss_pp


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(latency_ms=3.0, macs=1e6), "no architecture meets 1 M MACs: the cheapest one takes"),
        (Budget(latency_ms=3.0, params=1e6), "the smallest one takes"),
        (Budget(latency_ms=2.2, macs=260e6), "together, though each alone can be met"),
    ],
)
def test_limits_that_cannot_be_met_are_named(budget: Budget, message: str) -> None:
    latency, accuracy = ponas_tables()
    with pytest.raises(BudgetError, match=message):
        specialize(latency, accuracy, budget, space=build_space("ponas"))


def test_tables_that_do_not_belong_together_are_refused() -> None:
    latency, accuracy = ponas_tables()
    with pytest.raises(TableMismatchError, match="layer"):
        specialize(latency, accuracy_table(), Budget(latency_ms=3.0))
    other = AccuracyTable(accuracy.loss, space=SpaceKey("other", "0" * 16, 224, 1000))
    with pytest.raises(TableMismatchError, match="'other'"):
        specialize(latency, other, Budget(latency_ms=3.0))


def test_what_cannot_be_asked_is_said() -> None:
    latency, accuracy = latency_table(), accuracy_table()
    with pytest.raises(PonasError, match="no budget"):
        specialize(latency, accuracy, Budget())
    with pytest.raises(PonasError, match="--space"):
        specialize(latency, accuracy, Budget(macs=1e6))
    with pytest.raises(UnknownNameError, match="exact, ga"):
        specialize(latency, accuracy, Budget(latency_ms=3.0), method="guess")


def test_a_quantity_can_be_asked_for_as_it_is_shown() -> None:
    assert LATENCY.shown(3.4) == "3.4 ms"
    assert LATENCY.shown(1.23412, up=True) == "1.235 ms"
    assert LATENCY.shown(12345.6, up=True) == "12346 ms"
    assert MACS.shown(330e6) == "330 M MACs"
    assert BYTES.shown(20.3e6) == "20.3 MB"


def test_a_front_has_the_labels_of_its_networks() -> None:
    latency, accuracy = latency_table(3), accuracy_table(4)
    arrays, found = front(latency, accuracy), pareto_front(latency, accuracy)
    assert [point.latency_ms for point in found.points] == arrays.cost.tolist()
    for point in found.points:
        assert latency.predict_ms(point.choices) == pytest.approx(point.latency_ms)
        assert accuracy.loss_pp(point.choices) == pytest.approx(point.loss_pp)
