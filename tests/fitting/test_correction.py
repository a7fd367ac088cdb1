"""From isolated cells to the corrected table, on devices whose truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ponas_deploy.errors import MeasurementError
from ponas_deploy.fitting.correction import LEAST_CHECK, LEAST_FIT, TimedNetwork, certify, correct, traits
from ponas_deploy.profiling.spread import spread_networks
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import Correction
from ponas_deploy.tables.measurement import Measurement
from searchspace import build_space

SPACE = build_space("ponas")
CELLS = SPACE.cells()
RNG = np.random.default_rng(5)
COST = {cell.key: float(RNG.uniform(0.03, 0.4)) for row in CELLS for cell in row}
ISOLATED = Grid(
    tuple(layer.name for layer in SPACE.layers),
    SPACE.labels,
    tuple(tuple(COST[cell.key] for cell in row) for row in CELLS),
    0.7,
)


def timed(
    count: int,
    seed: int,
    *,
    true: Callable[[int, int], float] | None = None,
    noise: float = 0.0,
    wild: int = 0,
) -> tuple[TimedNetwork, ...]:
    """Networks on a device where a cell costs `true(layer, index)` ms, 0.9 ms for all of them besides."""
    rng = np.random.default_rng(seed)
    true = true or (lambda layer, index: 1.15 * ISOLATED.values[layer][index])
    networks = []
    for number, choices in enumerate(spread_networks(ISOLATED.values, count, seed)):
        total_ms = 0.9 + sum(true(layer, index) for layer, index in enumerate(choices))
        total_ms *= 1 + noise * rng.standard_normal() + (0.5 if number < wild else 0.0)
        rounds = tuple(1e6 * total_ms * (1 + noise * rng.standard_normal(8)))
        networks.append(TimedNetwork(ISOLATED.labels(choices), Measurement(1, rounds)))
    return tuple(networks)


def grown(layer: int, index: int) -> float:
    """Squeeze-and-excite costs more inside a network, and so do the layers of one shape."""
    value = ISOLATED.values[layer][index]
    at_28_px = CELLS[layer][index].input_shape[1] == 28
    return (1.15 + 0.3 * at_28_px) * value + (0.05 if CELLS[layer][index].key.count("se@") else 0.0)


def spreads_pct(correction: Correction) -> float:
    """How far the factors of all kinds may go, the largest."""
    return max(value for name, value in correction.parameters if name.endswith("_spread_pct"))


def test_an_additive_device_is_predicted_without_error() -> None:
    grid, correction = correct(ISOLATED, CELLS, timed(LEAST_FIT, 1), "median")
    certificate = certify(grid, ISOLATED, timed(LEAST_CHECK, 2), "median")
    assert spreads_pct(correction) < 2
    assert certificate.worst_error_pct < 1e-3
    assert certificate.kendall_tau == 1
    assert certificate.isolated_mean_error_pct > 10
    assert grid.fixed == pytest.approx(0.9, rel=1e-3)
    assert all(net.isolated_ms == pytest.approx(ISOLATED.total(net.choices)) for net in certificate.networks)


def test_what_the_line_cannot_say_the_ridge_does() -> None:
    grid, correction = correct(ISOLATED, CELLS, timed(48, 1, true=grown), "median")
    straight, line = correct(ISOLATED, CELLS, timed(48, 1, true=grown), "median", kinds=())
    error, by_line = (dict(one.parameters)["cross_validated_pct"] for one in (correction, line))
    certificate, of_line = (
        certify(some, ISOLATED, timed(40, 2, true=grown), "median") for some in (grid, straight)
    )
    assert (correction.method, line.method) == ("line and ridge", "line")
    assert error < 0.3 * by_line
    assert certificate.mean_error_pct < 0.3 * of_line.mean_error_pct
    assert certificate.mean_error_pct < 0.3


def test_noise_is_said_and_not_learnt() -> None:
    grid, correction = correct(ISOLATED, CELLS, timed(48, 1, noise=0.02), "median")
    certificate = certify(grid, ISOLATED, timed(40, 2, noise=0.02), "median")
    assert spreads_pct(correction) < 10, "no more than is usual"
    assert 0.3 < certificate.noise_floor_pct < 3
    assert certificate.mean_error_pct < 2.5


def test_disturbed_networks_hardly_move_it() -> None:
    grid, _ = correct(ISOLATED, CELLS, timed(24, 1, wild=3), "median")
    assert certify(grid, ISOLATED, timed(12, 2), "median").mean_error_pct < 0.5


def test_a_device_that_does_not_add_up_is_certified_as_one() -> None:
    rng = np.random.default_rng(0)
    factors: dict[tuple[str, ...], float] = {}

    def bent(networks: tuple[TimedNetwork, ...]) -> tuple[TimedNetwork, ...]:
        out = []
        for net in networks:
            factor = factors.setdefault(net.choices, float(rng.uniform(0.7, 1.3)))
            rounds = tuple(factor * value for value in net.measurement.rounds_ns)
            out.append(TimedNetwork(net.choices, Measurement(1, rounds)))
        return tuple(out)

    grid, _ = correct(ISOLATED, CELLS, bent(timed(48, 1)), "median")
    certificate = certify(grid, ISOLATED, bent(timed(40, 2)), "median")
    assert certificate.mean_error_pct > 8
    assert certificate.noise_floor_pct < 0.01
    assert certificate.kendall_tau < 0.9 * certificate.noise_tau


def test_cells_that_count_a_runs_cost_too_often_stay_positive_and_add_up() -> None:
    overhead = 0.02
    isolated = Grid(
        ISOLATED.layers,
        ISOLATED.candidates,
        tuple(tuple(value + overhead for value in row) for row in ISOLATED.values),
        0.01 + 2 * overhead,
    )

    def network(net: TimedNetwork) -> TimedNetwork:
        return TimedNetwork(net.choices, Measurement(1, (1e6 * (ISOLATED.total(net.choices) - 0.65),)))

    grid, correction = correct(isolated, CELLS, tuple(map(network, timed(24, 1))), "median")
    certificate = certify(grid, isolated, tuple(map(network, timed(12, 2))), "median")
    assert dict(correction.parameters)["intercept_ms"] < 0
    assert grid.fixed == 0
    assert min(min(row) for row in grid.values) > 0
    assert certificate.worst_error_pct < 0.1


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(MeasurementError, match=f"15 whole networks .* needs {LEAST_FIT}"):
        correct(ISOLATED, CELLS, timed(15, 1), "median")
    with pytest.raises(MeasurementError, match=f"11 whole networks .* needs {LEAST_CHECK}"):
        certify(ISOLATED, ISOLATED, timed(11, 1), "median")


def test_networks_that_do_not_follow_their_cells_are_refused() -> None:
    upside_down = timed(24, 1, true=lambda layer, index: 1.0 - ISOLATED.values[layer][index])
    with pytest.raises(MeasurementError, match="slower cells are not slower"):
        correct(ISOLATED, CELLS, upside_down, "median")


def test_traits_are_words_that_shapes_share() -> None:
    words = {traits(cell.ops) for row in CELLS for cell in row}
    assert ("kernel 7", "expansion 6", "stride 1", "residual", "squeeze-and-excite") in words
    assert ("kernel 3", "expansion 3", "stride 2") in words
