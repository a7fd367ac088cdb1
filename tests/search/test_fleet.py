"""The network that devices share, on tables: layers that may be absent, tables in another order, errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponas_deploy.errors import BudgetError, TableMismatchError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.fleet import FleetDevice, NamedSide, choose_shared
from ponas_deploy.search.sides import Side
from ponas_deploy.search.specialize import specialize
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.margin import Margin
from sample_tables import SPACE, accuracy_table, latency_table
from searchspace import SPACES, Architecture, Space
from searchspace.cost import count_macs, network_cost
from small_staged_spaces import every_list, is_legal, staged_spaces

HUNDREDTHS = st.integers(0, 300).map(lambda hundredths: hundredths / 100)


def margin_of(factor: float) -> Margin:
    return Margin(0.95, 50, factor, 1.0, 40, 0.95, by_noise=False)


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Space, AccuracyTable, list[list[LatencyTable]], list[float]]:
    """A space with absent layers, what its candidates lose, two or three devices of one or two tables."""
    space = draw(staged_spaces())
    key = SpaceKey.of(space)
    loss = [[draw(HUNDREDTHS) for _ in one.candidates] for one in space.layers]
    devices = []
    for _ in range(draw(st.integers(2, 3))):
        tables = []
        for _ in range(draw(st.integers(1, 2))):
            cells = [
                [draw(HUNDREDTHS) + 0.01 if c.ops else 0.0 for c in one.candidates] for one in space.layers
            ]
            tables.append(LatencyTable(Grid.over(space, cells, 0.5), key))
        devices.append(tables)
    parts = [draw(st.floats(0, 1)) for _ in devices]
    return space, AccuracyTable(Grid.over(space, loss), space=key), devices, parts


def legal_networks(space: Space) -> list[tuple[str, ...]]:
    indices = (row for row in every_list(space) if is_legal(space, row))
    return [Architecture.from_indices(space, row).choices for row in indices]


@settings(max_examples=60)
@given(fleets())
def test_it_is_the_best_of_all_legal_networks(
    fleet: tuple[Space, AccuracyTable, list[list[LatencyTable]], list[float]],
) -> None:
    space, accuracy, devices, parts = fleet
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, space.name, lambda resolution, classes: space)
        networks = legal_networks(space)
        kept, asked, factors = [], [], [1.0, 1.1, 1.3]
        for place, (tables, part) in enumerate(zip(devices, parts, strict=True)):
            ms = np.array([[table.grid.total(one) for one in networks] for table in tables]) * factors[place]
            limit = float(ms[0].min() + part * np.ptp(ms[0]))
            named = [
                NamedSide(f"t{at}", Side(table, accuracy, space), margin_of(factors[place]))
                for at, table in enumerate(tables)
            ]
            asked.append(FleetDevice(f"d{place}", tuple(named), Budget(latency_ms=limit)))
            kept.append((ms <= limit * (1 + 1e-12)).any(axis=0))
        losses = np.array([accuracy.loss.total(one) for one in networks])
        fits = np.all(kept, axis=0)
        if not fits.any():
            with pytest.raises(BudgetError, match="no architecture"):
                choose_shared(asked)
            return
        found = choose_shared(asked)
        assert found.choice.optimal
        assert found.choice.predicted_loss_pp == pytest.approx(losses[fits].min(), abs=1e-9)
        assert fits[networks.index(found.choice.choices)]
        for one, own in zip(found.devices, kept, strict=True):
            assert one.choice.choices == found.choice.choices
            assert one.own.predicted_loss_pp == pytest.approx(losses[own].min(), abs=1e-9)
            assert one.cost_points >= -1e-9
        for place, (one, tables) in enumerate(zip(found.devices, devices, strict=True)):
            ms = [table.predict_ms(one.choice.choices) for table in tables]
            assert one.choice.predicted_ms == pytest.approx(min(ms))
            assert factors[place] * min(ms) <= (asked[place].budget.latency_ms or 0.0) * (1 + 1e-9)


def device(name: str, budget: Budget, *tables: LatencyTable, margin: Margin | None = None) -> FleetDevice:
    named = (
        NamedSide(f"{name}/{at}", Side(one, accuracy_table(), SPACE), margin) for at, one in enumerate(tables)
    )
    return FleetDevice(name, tuple(named), budget)


def slower(word: str, factor: float) -> LatencyTable:
    """A device on which blocks with `word` in their label take `factor` times as long."""
    table = latency_table()
    rows = (
        tuple(ms * (factor if word in label else 1.0) for label, ms in zip(labels, row, strict=True))
        for labels, row in zip(table.grid.candidates, table.grid.values, strict=True)
    )
    return replace(table, grid=replace(table.grid, values=tuple(rows)))


def span(table: LatencyTable, part: float) -> float:
    low, high = (sum(map(reach, table.grid.values)) + table.grid.fixed for reach in (min, max))
    return low + part * (high - low)


def reordered(table: LatencyTable) -> LatencyTable:
    """The same table with its layers and candidates the other way round."""
    grid = table.grid
    turned = Grid(
        grid.layers[::-1],
        tuple(labels[::-1] for labels in grid.candidates[::-1]),
        tuple(row[::-1] for row in grid.values[::-1]),
        grid.fixed,
    )
    return replace(table, grid=turned)


def test_a_table_in_another_order_changes_nothing() -> None:
    a, b = slower("k7", 3.0), slower("e6", 2.0)
    budgets = [Budget(latency_ms=span(one, 0.4)) for one in (a, b)]
    plain = choose_shared([device("a", budgets[0], a), device("b", budgets[1], b)])
    turned = choose_shared([device("a", budgets[0], a), device("b", budgets[1], reordered(b))])
    assert plain.choice.choices == turned.choice.choices
    assert [one.choice.predicted_ms for one in plain.devices] == pytest.approx(
        [one.choice.predicted_ms for one in turned.devices]
    )
    assert all(one.cost_points > 0 for one in plain.devices), "each alone would have another network"


def test_a_single_device_gets_what_it_gets_alone() -> None:
    table, budget = latency_table(), Budget(latency_ms=span(latency_table(), 0.5), params=6e6)
    (only,) = choose_shared([device("a", budget, table)]).devices
    alone = specialize(table, accuracy_table(), budget, space=SPACE)
    assert (only.choice.predicted_loss_pp, only.cost_points) == (alone.predicted_loss_pp, 0.0)
    assert only.own == alone


def test_counted_limits_are_kept_too() -> None:
    a, b = latency_table(), slower("k7", 2.0)
    budgets = [Budget(latency_ms=span(one, 0.6), macs=3e8) for one in (a, b)]
    shared = choose_shared([device("a", budgets[0], a), device("b", budgets[1], b)])
    assert network_cost(count_macs, Architecture(SPACE, shared.choice.choices)) <= 3e8
    free = [Budget(latency_ms=one.latency_ms) for one in budgets]
    assert choose_shared([device("a", free[0], a), device("b", free[1], b)]).choice.predicted_loss_pp < (
        shared.choice.predicted_loss_pp
    )
    counted = [device("a", Budget(macs=3e8), a), device("b", Budget(macs=3e8), b)]
    assert {one.cost_points for one in choose_shared(counted).devices} == {0.0}


def test_a_device_that_cannot_is_named_with_its_least() -> None:
    table = latency_table()
    other = replace(
        table, conditions=replace(table.conditions, device="slow-board"), grid=table.grid.scaled(9.0)
    )
    devices = [
        device("test-board", Budget(latency_ms=span(table, 0.5)), table),
        device("slow-board", Budget(latency_ms=span(table, 0.5)), other),
    ]
    with pytest.raises(BudgetError, match=r"on slow-board: the fastest one takes .* Ask for") as caught:
        choose_shared(devices)
    assert caught.value.least == pytest.approx(span(other, 0.0))


@pytest.mark.parametrize("margin", [None, margin_of(1.25)])
def test_budgets_that_only_each_alone_can_keep_name_what_is_possible(margin: Margin | None) -> None:
    """Two devices that like opposite blocks."""
    table = latency_table()
    turned = [max(row) + min(row) for row in table.grid.values]
    rows = tuple(
        tuple(most - value for value in row) for most, row in zip(turned, table.grid.values, strict=True)
    )
    other = replace(table, grid=replace(table.grid, values=rows))
    factor = margin.factor if margin else 1.0

    def fleet(of_b: float) -> Sequence[FleetDevice]:
        limits = [Budget(latency_ms=factor * span(table, 0.2)), Budget(latency_ms=of_b)]
        return [device("a", limits[0], table, margin=margin), device("b", limits[1], other, margin=margin)]

    with pytest.raises(BudgetError, match=r"on [ab] while the others keep their budgets") as caught:
        choose_shared(fleet(factor * span(other, 0.2)))
    assert ("with the margin of its tables" in str(caught.value)) == (margin is not None)
    assert caught.value.least is not None
    if " on b while" in str(caught.value):
        choose_shared(fleet(1.01 * caught.value.least))


def test_resolutions_are_shared_too() -> None:
    table = latency_table()
    small = replace(table, space=replace(table.space, resolution=160), grid=table.grid.scaled(0.5))
    budget = Budget(latency_ms=span(table, 0.5))

    def at(one: LatencyTable, accuracy: AccuracyTable) -> NamedSide:
        return NamedSide("t", Side(one, accuracy, None))

    with pytest.raises(TableMismatchError, match=r"a: 160; b: 224"):
        choose_shared(
            [
                FleetDevice("a", (at(small, accuracy_table()),), budget),
                FleetDevice("b", (at(table, accuracy_table()),), budget),
            ]
        )
    both = (at(small, accuracy_table()), at(table, accuracy_table()))
    found = choose_shared([FleetDevice("a", both, budget), FleetDevice("b", both[1:], budget)])
    assert found.choice.resolution == 224
    assert [one.place for one in found.devices] == [1, 0]
