"""Layers that are left out from a stage's end only: every search against all networks of small spaces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponas_deploy.engines.choice import shortlist
from ponas_deploy.engines.reranker import without_doubles
from ponas_deploy.errors import BudgetError, TableMismatchError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.costs import LATENCY
from ponas_deploy.search.genetic import GeneticSettings
from ponas_deploy.search.pareto import pareto_front
from ponas_deploy.search.specialize import most_useful, specialize
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.architectures import read_choices
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from searchspace import SPACES, Architecture, ArchitectureError, Space
from searchspace.cost import count_macs, network_cost
from searchspace.ops import count_params
from small_staged_spaces import every_list, is_legal, layer, staged, staged_spaces

SHORT = GeneticSettings(population=8, generations=10)
HUNDREDTHS = st.integers(0, 300).map(lambda hundredths: hundredths / 100)


@st.composite
def tasks(draw: st.DrawFn) -> tuple[Space, LatencyTable, AccuracyTable]:
    """A space with tables of it: absent layers take no time, and may lose anything."""
    space = draw(staged_spaces())
    latency, loss = [], []
    for one in space.layers:
        took = [draw(HUNDREDTHS) + 0.01 if candidate.ops else 0.0 for candidate in one.candidates]
        latency.append(took)
        loss.append([draw(HUNDREDTHS) for _ in one.candidates])
    return space, *tables(space, latency, loss)


def tables(
    space: Space, latency: list[list[float]], loss: list[list[float]]
) -> tuple[LatencyTable, AccuracyTable]:
    key = SpaceKey.of(space)
    return LatencyTable(Grid.over(space, latency, 0.5), key), AccuracyTable(Grid.over(space, loss), space=key)


@contextmanager
def known(space: Space) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, space.name, lambda resolution, classes: space)
        yield


def legal_networks(space: Space) -> list[tuple[str, ...]]:
    indices = (row for row in every_list(space) if is_legal(space, row))
    return [Architecture.from_indices(space, row).choices for row in indices]


def totals(networks: list[tuple[str, ...]], table: LatencyTable, losses: AccuracyTable) -> np.ndarray:
    """(N, 2): milliseconds and points."""
    return np.array([(table.grid.total(one), losses.loss.total(one)) for one in networks])


@settings(max_examples=60)
@given(tasks())
def test_the_front_is_that_of_all_legal_networks(task: tuple[Space, LatencyTable, AccuracyTable]) -> None:
    space, latency, accuracy = task
    with known(space):
        points = pareto_front(latency, accuracy).points
        every = totals(legal_networks(space), latency, accuracy)
        best = sorted(
            {
                (round(ms, 9), round(pp, 9))
                for ms, pp in every
                if not ((every[:, 0] <= ms + 1e-9) & (every[:, 1] < pp - 1e-9)).any()
                and not ((every[:, 0] < ms - 1e-9) & (every[:, 1] <= pp + 1e-9)).any()
            }
        )
        assert [(round(p.latency_ms, 9), round(p.loss_pp, 9)) for p in points] == best
        for point in points:
            chosen = totals([Architecture(space, point.choices).choices], latency, accuracy)[0]
            assert chosen == pytest.approx([point.latency_ms, point.loss_pp])
        assert most_useful(LATENCY, latency, accuracy) == pytest.approx(points[-1].latency_ms)


@settings(max_examples=60)
@given(tasks(), st.lists(st.floats(0, 1), min_size=3, max_size=3), st.integers(0, 9))
def test_the_best_within_several_limits_are_those_of_all_legal_networks(
    task: tuple[Space, LatencyTable, AccuracyTable], tightness: list[float], seed: int
) -> None:
    space, latency, accuracy = task
    networks = legal_networks(space)
    counts = [
        [network_cost(count, Architecture(space, one)) for one in networks]
        for count in (count_macs, count_params)
    ]
    values = np.array([*totals(networks, latency, accuracy).T, *counts])
    limits = [row.min() + part * np.ptp(row) for row, part in zip(values[[0, 2, 3]], tightness, strict=True)]
    budget = Budget(latency_ms=float(limits[0]), macs=float(limits[1]), params=float(limits[2]))
    fits = (values[[0, 2, 3]] <= np.array(limits)[:, None] * (1 + 1e-9)).all(axis=0)
    with known(space):
        if not fits.any():
            with pytest.raises(BudgetError, match="no architecture meets"):
                shortlist(latency, accuracy, 5, budget)
            return
        found = shortlist(latency, accuracy, 5, budget)
        expected = np.sort(values[1, fits])[:5]
        assert [one.predicted_loss_pp for one in found] == pytest.approx(expected.tolist())
        assert {one.choices for one in found} <= {one for one, ok in zip(networks, fits, strict=True) if ok}
        assert len({one.choices for one in found}) == len(found)
        evolved = specialize(latency, accuracy, budget, method="ga", seed=seed, settings=SHORT)
        assert evolved.choices in {one for one, ok in zip(networks, fits, strict=True) if ok}
        assert evolved.gap_pp == pytest.approx(evolved.predicted_loss_pp - expected[0], abs=1e-9)


PAIR = staged((2,), (layer("a", 2, 2), layer("b", 2, 0)))
"""Layers a (b0, b1, none) and b (none, b0, b1): the second stays only where the first does."""
TAKES, LOSES = [[1.0, 2.0, 0.0], [0.0, 1.0, 2.0]], [[2.0, 1.0, 0.0], [4.0, 1.0, 0.0]]


def test_what_sums_alone_would_choose_is_not_chosen() -> None:
    latency, accuracy = tables(PAIR, TAKES, LOSES)
    free = replace(PAIR, stages=())
    with known(PAIR):
        best = specialize(latency, accuracy, Budget(latency_ms=3.0))
        assert (best.choices, best.predicted_loss_pp) == (("b0", "b0"), 3.0)
    with known(free):
        unruled = tables(free, TAKES, LOSES)
        assert specialize(*unruled, Budget(latency_ms=3.0)).choices == ("none", "b1")


def test_tables_in_another_order_and_without_a_key_keep_the_rule() -> None:
    latency, accuracy = tables(PAIR, TAKES, LOSES)
    labels = ("b1", "none", "b0"), ("none", "b1", "b0")
    turned = Grid(("b", "a"), labels, ((2.0, 0.0, 1.0), (0.0, 2.0, 1.0)))
    with known(PAIR):
        for table in (LatencyTable(turned, latency.space), LatencyTable(turned)):
            found = specialize(table, accuracy, Budget(latency_ms=2.6))
            assert (found.choices, found.predicted_ms, found.predicted_loss_pp) == (("b0", "b0"), 2.0, 3.0)
        plain = LatencyTable(latency.grid), replace(accuracy, space=None)
        assert specialize(*plain, Budget(latency_ms=2.6)).predicted_loss_pp == 3.0


def some(*labels: tuple[str, ...]) -> tuple[LatencyTable, AccuracyTable]:
    """Tables without a space, of some candidates of `PAIR`."""
    grids = []
    for values in (TAKES, LOSES):
        rows = [dict(zip(row, cells, strict=True)) for row, cells in zip(PAIR.labels, values, strict=True)]
        picked = tuple(tuple(row[one] for one in wanted) for row, wanted in zip(rows, labels, strict=True))
        grids.append(Grid(("a", "b"), labels, picked))
    return LatencyTable(grids[0]), AccuracyTable(grids[1])


def test_a_table_of_some_candidates_keeps_the_rule() -> None:
    with known(PAIR):
        latency, accuracy = some(("none", "b0"), ("b1", "none"))
        choices = {point.choices for point in pareto_front(latency, accuracy).points}
        assert choices == {("none", "none"), ("b0", "b1")}
        with pytest.raises(ArchitectureError, match="layer 'b' is 'b1' behind layer 'a', which is absent"):
            read_choices("none,b1", latency)
        assert read_choices("b0,b1", latency) == ("b0", "b1")
        lacking = some(("none", "b0"), ("b1", "b0"))
        assert {point.choices[0] for point in pareto_front(*lacking).points} == {"b0"}
        with pytest.raises(TableMismatchError, match="every network of the table has a layer behind"):
            pareto_front(*some(("none",), ("b1", "b0")))


def test_an_absent_layer_is_no_double_of_a_block_that_loses_the_same() -> None:
    equal = [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    latency, accuracy = tables(PAIR, TAKES, equal)
    with known(PAIR):
        priced = without_doubles(latency, accuracy).grid.values
    dear = max(map(max, priced))
    assert [[value < dear for value in row] for row in priced] == [[True, False, True], [True, True, False]]
