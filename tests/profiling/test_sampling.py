"""Networks that a profile builds: how many to fit on and to check with, of which kinds, and more later."""

from __future__ import annotations

import numpy as np
import pytest

from ponas_deploy.errors import MeasurementError
from ponas_deploy.profiling.assemble import NetworkSplit
from ponas_deploy.profiling.priority import losses
from ponas_deploy.profiling.sampling import MOST_CHECK, MOST_FIT, choose, grown
from ponas_deploy.search.frontier import exact_front
from searchspace import Architecture, Space, build_space
from searchspace.cost import cost_table, count_macs

SPACE = build_space("ponas")
COSTS = [np.array(row, dtype=np.float64) for row in cost_table(count_macs, SPACE)[1]]
LOSSES = losses(SPACE, None)


@pytest.mark.parametrize(
    ("count", "least_fit", "least_check", "expected"),
    [(72, 16, 12, (32, 40)), (28, 16, 12, (16, 12)), (5, 16, 12, (16, 12)), (44, 24, 20, (24, 20))],
)
def test_both_roles_get_their_share(
    count: int, least_fit: int, least_check: int, expected: tuple[int, int]
) -> None:
    found = choose(SPACE, COSTS, LOSSES, count, 0, least_fit=least_fit, least_check=least_check)
    assert (len(found.fit), len(found.check)) == expected
    assert {*found.fit}.isdisjoint(found.check)


def test_a_third_of_those_that_check_are_of_the_front() -> None:
    found = choose(SPACE, COSTS, LOSSES, 72, 0)
    rows = exact_front(COSTS, LOSSES).choices.tolist()
    best = {Architecture.from_indices(SPACE, row).text for row in rows}
    assert 0.3 <= len(best & {*found.check}) / len(found.check) <= 0.4
    assert best & {*found.fit}


def test_more_of_them_keep_their_roles() -> None:
    first = choose(SPACE, COSTS, LOSSES, 40, 0)
    more = grown(first, SPACE, COSTS, LOSSES, 72, 0)
    assert len({*more.fit, *more.check}) == MOST_FIT + MOST_CHECK
    assert more.fit[: len(first.fit)] == first.fit
    assert more.check[: len(first.check)] == first.check
    assert grown(more, SPACE, COSTS, LOSSES, 200, 0) == more
    assert grown(first, SPACE, COSTS, LOSSES, 44, 0) == first, "hardly any would be new"
    full = NetworkSplit(first.fit[:10], tuple(choose(SPACE, COSTS, LOSSES, 72, 1).check))
    assert grown(full, SPACE, COSTS, LOSSES, 72, 0).check == full.check


def test_a_space_too_small_is_refused(tiny: Space) -> None:
    few = [np.array([1.0, 2.0]) for _ in tiny.layers]
    with pytest.raises(
        MeasurementError, match=r"has too few networks to certify a table: \d+ were found, 28"
    ):
        choose(tiny, few, few, 28, 0)


def test_networks_to_fit_on_and_to_check_with_are_built_in_turn() -> None:
    """Those that are built first may lie in other memory than the last ones."""
    networks = choose(SPACE, COSTS, LOSSES, 72, 1)
    for size in (100, 30):
        waves = networks.waves(size)
        assert sorted(text for wave in waves for text in wave) == sorted((*networks.fit, *networks.check))
        assert max(map(len, waves)) <= size
        for wave in waves:
            halves = wave[: len(wave) // 2], wave[len(wave) // 2 :]
            fits = [len(set(half) & set(networks.fit)) / len(half) for half in halves]
            assert abs(fits[0] - fits[1]) < 0.35
    assert networks.waves(30) == networks.waves(30)
