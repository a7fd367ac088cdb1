"""What a fit says against its rows: drift, sums that do not explain them, layers that are mixed up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from planted_networks import (
    Floats,
    Ints,
    Plant,
    Truth,
    additive,
    bottleneck,
    host_bound,
    paired,
    planted,
    saturating,
    two_streams,
)
from ponas_deploy.fitting import fit_networks

SEEDS = range(3)


DRIFTS: dict[str, Callable[[Floats], Floats]] = {
    "trend": lambda t: 0.05 * t,
    "step": lambda t: 0.05 * (t > 0.6),
    "wave": lambda t: 0.025 * np.sin(9 * t),
    "warm-up": lambda t: 0.1 * np.exp(-8 * t),
}


@pytest.mark.parametrize("kind", DRIFTS)
def test_drift_is_found(kind: str) -> None:
    for seed in SEEDS:
        plant = Plant.of(12, 6, seed)
        drawn = plant.draw(400)
        moved = additive(plant, drawn) * (1 + DRIFTS[kind](np.linspace(0, 1, 400)))
        fit = fit_networks(plant.networks(drawn, plant.noisy(moved)))
        assert fit.order.drift
        assert fit.additivity.additive
        assert any(warning.startswith("values drift by") for warning in fit.warnings)


def test_the_order_of_a_sorted_file_says_nothing() -> None:
    _, networks = planted(additive, 400, 0, noise=0.03)
    order = np.argsort(networks.values)
    by_value = replace(
        networks,
        choices=tuple(networks.choices[row] for row in order),
        values=tuple(networks.values[row] for row in order),
    )
    fit = fit_networks(by_value)
    assert not fit.order.drift
    assert any("in order of their value" in warning for warning in fit.warnings)
    by_label = sorted(zip(networks.choices, networks.values, strict=True))
    listed = replace(
        networks, choices=tuple(row for row, _ in by_label), values=tuple(value for _, value in by_label)
    )
    assert not fit_networks(listed).order.drift


@pytest.mark.parametrize(
    ("truth", "rows"),
    [(two_streams, 400), (host_bound, 400), (saturating, 400), (bottleneck, 400), (paired, 800)],
)
def test_sums_that_do_not_explain_the_rows_are_said(truth: Truth, rows: int) -> None:
    found = [fit_networks(planted(truth, rows, seed, size=(12, 6))[1]) for seed in SEEDS]
    assert sum(not fit.additivity.additive for fit in found) == len(found)
    assert all(any("layers interact" in warning for warning in fit.warnings) for fit in found)
    assert not any(fit.order.drift for fit in found)


def test_repeats_tell_structure_from_noise() -> None:
    """A value of each network's own is noise to everyone who measures it once."""
    plant = Plant.of(8, 4, 0)
    drawn = plant.draw(300, 0.4)
    number = {row: index for index, row in enumerate(dict.fromkeys(map(tuple, drawn.tolist())))}
    own = plant.rng.normal(1, 0.08, len(number))[[number[tuple(row)] for row in drawn.tolist()]]
    fit = fit_networks(plant.networks(drawn, plant.noisy(additive(plant, drawn) * own, 0.005)))
    assert not fit.additivity.additive
    assert fit.noise_value == pytest.approx(0.5, rel=0.3)
    noisy = fit_networks(plant.networks(drawn, plant.noisy(additive(plant, drawn), 0.08)))
    assert noisy.additivity.additive
    assert noisy.noise_value == pytest.approx(8, rel=0.3)


def test_false_alarms_are_rare() -> None:
    """Additive truths of every size and noise: at most one alarm each in 60."""
    drift = failed = 0
    for seed in range(20):
        for rows, noise in ((40, 0.01), (100, 0.06), (300, 0.02)):
            fit = fit_networks(planted(additive, rows, seed, noise, size=(6, 4))[1])
            drift += fit.order.drift
            failed += not fit.additivity.additive
    assert drift <= 1
    assert failed <= 1


def dropped(plant: Plant, drawn: Ints) -> Floats:
    """A graph compiler that drops what follows two of its candidates: a tail."""
    sums, gone = additive(plant, drawn), (drawn[:, 0] == 0) & (drawn[:, 1] <= 1)
    return np.where(gone, plant.fixed + 0.1 * (sums - plant.fixed), sums)


def test_no_table_whose_tail_is_far_off_is_called_additive() -> None:
    """By the share of variance alone one with an error of over 20 % in one of twenty networks passed."""
    for truth, size in ((dropped, (6, 5)), (dropped, (12, 4)), (paired, (6, 5)), (bottleneck, (6, 5))):
        for seed in SEEDS:
            fit = fit_networks(planted(truth, 400, seed, size=size)[1])
            if fit.p95_error > 20:
                assert not fit.additivity.additive
                assert fit.additivity.tail
    steady = fit_networks(planted(dropped, 800, 0, size=(6, 5))[1])
    assert steady.p95_error > 20
    assert not steady.additivity.additive
    assert any(f"in twenty is off by {steady.p95_error:.0f} % or more" in one for one in steady.warnings)


def test_a_tail_that_repeats_know_as_noise_is_none() -> None:
    plant = Plant.of(8, 4, 0)
    drawn = plant.draw(300, 0.4)
    noisy = fit_networks(plant.networks(drawn, plant.noisy(additive(plant, drawn), 0.12)))
    assert noisy.p95_error > 20
    assert (noisy.additivity.additive, noisy.additivity.tail) == (True, False)


def test_values_that_sums_say_nothing_of() -> None:
    plant = Plant.of(6, 4, 0)
    drawn = plant.draw(400)
    fit = fit_networks(plant.networks(drawn, plant.rng.uniform(5, 10, 400)))
    assert not fit.additivity.additive
    assert any("explain nothing" in warning for warning in fit.warnings)


def test_two_layers_that_change_together_are_named() -> None:
    plant = Plant.of(8, 4, 0)
    drawn = plant.draw(400)
    drawn[:, 5] = (drawn[:, 2] + 1) % 4
    fit = fit_networks(plant.networks(drawn, plant.noisy(additive(plant, drawn))))
    assert not fit.identification.complete
    (text,) = fit.identification.sentences
    assert "layers 'layer2' and 'layer5' always change together" in text
    assert fit.tau.tau > 0.8, "their sum is known all the same"


def test_layers_that_meet_in_groups_only_are_named() -> None:
    plant = Plant.of(8, 4, 0)
    drawn = plant.draw(400)
    drawn[:, 5] = 2 * (drawn[:, 2] // 2) + plant.rng.integers(0, 2, 400)
    (text,) = fit_networks(plant.networks(drawn, additive(plant, drawn))).identification.sentences
    assert "layers 'layer2' and 'layer5' change together" in text


def test_a_layer_that_never_varies_is_named() -> None:
    plant = Plant.of(8, 4, 0)
    drawn = plant.draw(400)
    drawn[:, 3] = 1
    (text,) = fit_networks(plant.networks(drawn, additive(plant, drawn))).identification.sentences
    assert text.startswith("layer 'layer3' has the same candidate in every row")


def test_several_layers_that_are_mixed_up_are_named() -> None:
    plant = Plant.of(6, 3, 0)
    drawn = plant.draw(400)
    drawn = drawn % 2
    drawn[:, 2] = (drawn[:, 0] + drawn[:, 1]) % 2
    networks = plant.networks(drawn, plant.noisy(additive(plant, drawn)))
    assert fit_networks(networks).identification.complete, "no sum mimics an exclusive or"
    steps = np.zeros((400, 4), dtype=np.intp)
    steps[np.arange(400), plant.rng.integers(0, 4, 400)] = 1
    drawn[:, 1:5] = steps
    (text,) = fit_networks(plant.networks(drawn, additive(plant, drawn))).identification.sentences
    assert "mixed up with those of others" in text
