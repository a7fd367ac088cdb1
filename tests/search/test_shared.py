"""The best network of several devices against all networks of small spaces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponas_deploy.search import shared
from ponas_deploy.search.columns import Floats, total
from ponas_deploy.search.shared import Cells, Limited, best_shared, least_of
from small_spaces import Column, every_architecture, every_total, spaces

NEAR = 1e-9
EXACT = ("ties", "hundredths", "macs")
PARTS = st.lists(st.floats(0, 1), min_size=3, max_size=3)
SIZES = st.lists(st.integers(1, 3), min_size=1, max_size=3)


def devices(tables: tuple[Column, ...], counts: list[int], parts: list[float]) -> list[Limited]:
    """So many tables a device, with a limit between the least and the most that its first table says."""
    left, found = list(tables), []
    for count, part in zip(counts, parts, strict=False):
        own, left = left[:count], left[count:]
        totals = every_total(own[0], 0.5)
        limit = float(totals.min() + part * np.ptp(totals))
        found.append(Limited([Cells(one, 0.5 + place) for place, one in enumerate(own)], limit))
    return found


def kept(one: Limited) -> np.ndarray:
    """Which of all networks keep a limit by any of its tables."""
    totals = [every_total(list(table.values), table.fixed) for table in one.tables]
    return np.any([t <= one.limit + 1e-12 * abs(one.limit) for t in totals], axis=0)


@settings(max_examples=60)
@given(spaces(10, EXACT), SIZES, PARTS)
def test_it_agrees_with_brute_force(
    tables: tuple[Column, ...], counts: list[int], parts: list[float]
) -> None:
    loss, limits = tables[0], devices(tables[1:], counts, parts)
    fits = np.all([kept(one) for one in limits], axis=0)
    found = best_shared(loss, limits)
    if not fits.any():
        assert found is None
        return
    assert found is not None
    assert found.gap == 0.0
    assert found.loss == pytest.approx(every_total(loss)[fits].min(), abs=NEAR)
    assert float(total(loss, found.choices)) == found.loss
    for one, table in zip(limits, found.tables, strict=True):
        by = [float(total(cells.values, found.choices, fixed=cells.fixed)) for cells in one.tables]
        assert by[table] == min(by) <= one.limit * (1 + 1e-12)


@settings(max_examples=30)
@given(spaces(10, EXACT), SIZES, PARTS)
def test_the_least_of_one_device_while_the_others_keep_theirs(
    tables: tuple[Column, ...], counts: list[int], parts: list[float]
) -> None:
    limits = devices(tables[1:], [*counts, 1, 1][:3], parts)
    others = np.all([kept(one) for one in limits[1:]], axis=0)
    least = least_of(0, limits)
    if not others.any():
        assert least is None
        return
    cheapest = [every_total(list(one.values), one.fixed)[others].min() for one in limits[0].tables]
    assert least == pytest.approx(min(cheapest), rel=NEAR)


def test_few_combinations_of_tables_are_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four devices of three tables make 81 combinations; each table alone is solved, and few together."""
    rng, solved = np.random.default_rng(3), []
    plain = shared.find_best

    def counting(loss: Column, costs: list[Column], *rest: object) -> object:
        solved.append(len(costs))
        return plain(loss, costs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(shared, "find_best", counting)
    size = rng.uniform(0.2, 1, (5, 4))
    loss = list(np.round(1 / size, 2))
    limits = []
    for _ in range(4):
        tables = [list(size * rng.uniform(0.7, 1.3, size.shape)) for _ in range(3)]
        least, most = (sum(float(reach(row)) for row in tables[0]) for reach in (np.min, np.max))
        limits.append(Limited([Cells(one) for one in tables], least + 0.5 * (most - least)))
    found = best_shared(loss, limits)
    assert found is not None
    assert found.gap == 0.0
    assert solved.count(1) >= 12
    assert solved.count(4) < 40


def test_every_architecture_of_one_layer_is_seen() -> None:
    """By hand: the first tables leave the devices nothing in common, and each has another."""
    loss: list[Floats] = [np.array([0.0, 1.0, 2.0])]
    assert len(every_architecture(loss)) == 3
    a = Limited([Cells([np.array([9.0, 9.0, 1.0])]), Cells([np.array([9.0, 1.0, 9.0])])], 5.0)
    b = Limited([Cells([np.array([1.0, 9.0, 9.0])]), Cells([np.array([9.0, 2.0, 3.0])])], 5.0)
    found = best_shared(loss, [a, b])
    assert found is not None
    assert (found.choices.tolist(), found.loss, found.tables) == ([1], 1.0, (1, 1))
    assert best_shared(loss, [a, Limited(b.tables, 1.5)]) is None
    assert least_of(1, [a, Limited(b.tables, 1.5)]) == 2.0
