"""Blocks times precisions: the exact search over a mixed space against brute force, and what mixing buys."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from conftest import tiny_space
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.precisions import best_by_precision, gain_text
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from searchspace import SPACES, Architecture, build_space
from searchspace.mixed import is_int8, mixed, plain, plain_label, precisions

CONDITIONS = Conditions("board", "onnxruntime", "mixed", 1, 1)


@pytest.fixture(autouse=True)
def _tiny_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)


def tables(seed: int) -> tuple[LatencyTable, AccuracyTable]:
    """Integers take 0.3 to 1.1 of the time and lose up to a point, whatever the block."""
    random, space = np.random.default_rng(seed), mixed(tiny_space())
    latencies, losses = [], []
    for layer in space.layers:
        ms, loss = {}, {}
        for label in layer.labels:
            if is_int8(label):
                ms[label] = ms[plain_label(label)] * random.uniform(0.3, 1.1)
                loss[label] = loss[plain_label(label)] + random.uniform(0, 1)
            else:
                ms[label], loss[label] = random.uniform(1, 3), random.uniform(0, 2)
        latencies.append([ms[label] for label in layer.labels])
        losses.append([loss[label] for label in layer.labels])
    key = SpaceKey.of(space)
    latency = LatencyTable(Grid.over(space, latencies, 0.5), key, CONDITIONS)
    return latency, AccuracyTable(Grid.over(space, losses), space=key)


def of_one(name: str, choices: tuple[str, ...]) -> bool:
    return name == "mixed" or set(precisions(choices)) == {name}


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_each_precision_is_that_of_brute_force(seed: int) -> None:
    latency, accuracy = tables(seed)
    every = list(product(*latency.grid.candidates))
    middle_ms = float(np.median([latency.predict_ms(one) for one in every]))
    for budget_ms in (0.8 * middle_ms, middle_ms):
        for found in best_by_precision(latency, accuracy, Budget(latency_ms=budget_ms)):
            fitting = [
                accuracy.loss_pp(one)
                for one in every
                if of_one(found.precision, one) and latency.predict_ms(one) <= budget_ms
            ]
            assert (found.choices is None) == (not fitting)
            if found.predicted_ms is not None:
                assert found.predicted_loss_pp == pytest.approx(min(fitting))
                assert found.predicted_ms <= budget_ms


def test_what_mixing_buys_is_said_with_numbers_also_where_that_is_nothing() -> None:
    latency, accuracy = tables(0)
    everything = best_by_precision(latency, accuracy, Budget(latency_ms=100.0))
    assert [one.precision for one in everything] == ["fp32", "int8", "mixed"]
    text = gain_text(everything)
    assert text.endswith("A precision for each layer buys nothing here."), text
    assert f"fp32 alone loses {everything[0].predicted_loss_pp:.2f} pp" in text
    gains = [gain_text(best_by_precision(*tables(seed), Budget(latency_ms=5.5))) for seed in range(8)]
    assert any("A precision for each layer gains" in one for one in gains), gains


def test_a_precision_without_a_network_within_the_budget_is_said() -> None:
    latency, accuracy = tables(1)
    least_fp32 = sum(
        min(v for v, name in zip(row, names, strict=True) if not is_int8(name))
        for row, names in zip(latency.grid.values, latency.grid.candidates, strict=True)
    )
    found = best_by_precision(latency, accuracy, Budget(latency_ms=least_fp32 + 0.499))
    assert found[0].choices is None
    assert found[-1].choices
    assert "fp32 alone has no network within it" in gain_text(found)


def test_tables_of_one_precision_have_no_comparison() -> None:
    space = tiny_space()
    grid = Grid.over(space, ([1.0] * len(layer.labels) for layer in space.layers))
    of_one_precision = LatencyTable(grid, SpaceKey.of(space)), AccuracyTable(grid)
    assert best_by_precision(*of_one_precision, Budget(latency_ms=9.0)) == ()
    assert gain_text(()) == ""


def test_a_mixed_space_has_every_block_in_both_precisions_and_layers_absent_once() -> None:
    space = build_space("ofa-mbv3-mixed", 32, 10)
    assert space == mixed(build_space("ofa-mbv3", 32, 10))
    assert plain(space) == build_space("ofa-mbv3", 32, 10)
    for layer, before in zip(space.layers, plain(space).layers, strict=True):
        both = [one for one in before.candidates if one.ops]
        assert len(layer.candidates) == len(before.candidates) + len(both)
    assert space.tails, "the depth rule is kept"
    assert build_space("PONAS-Mixed", 32, 10).name == "ponas-mixed"


def test_the_depth_rule_holds_in_each_precision() -> None:
    space = build_space("ofa-mbv3-mixed", 32, 10)
    random = np.random.default_rng(0)
    of_space = [[random.uniform(0.1, 1) for _ in layer.labels] for layer in space.layers]
    key = SpaceKey.of(space)
    latency = LatencyTable(Grid.over(space, of_space), key, CONDITIONS)
    accuracy = AccuracyTable(Grid.over(space, ([1 - v for v in row] for row in of_space)), space=key)
    for found in best_by_precision(latency, accuracy, Budget(latency_ms=12.0)):
        assert found.choices
        part = space if found.precision == "mixed" else plain(space)
        Architecture(part, found.choices)  # refuses what breaks the rule
