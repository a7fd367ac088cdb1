"""The certificate against planted truths: networks whose accuracy, noise and rank correlation are known."""

from __future__ import annotations

from math import asin, pi, sqrt
from pathlib import Path

import numpy as np
import pytest

from ponas_deploy.errors import FileFormatError, MeasurementError
from ponas_deploy.fitting.certify import certify_accuracy, noise_of_halves
from ponas_deploy.fitting.ranks import intervals, rank_correlation
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.networks_csv import Networks
from searchspace import Architecture, build_space
from searchspace.cost import count_macs, network_cost

LABELS = ("a", "b", "c", "d")
LAYERS = ("x", "y", "z", "w", "v")
LOSS = tuple(tuple((layer + 1) * step / 4 for step in range(4)) for layer in range(5))
TABLE = AccuracyTable(Grid(LAYERS, (LABELS,) * 5, LOSS))


def networks(values: list[float], choices: list[tuple[str, ...]]) -> Networks:
    lines = tuple(range(2, len(values) + 2))
    return Networks(Path("evaluated.csv"), LAYERS, tuple(choices), tuple(values), "accuracy", lines)


def drawn(count: int, seed: int = 0) -> list[tuple[str, ...]]:
    rng = np.random.default_rng(seed)
    return list(dict.fromkeys(tuple(rng.choice(LABELS, 5)) for _ in range(3 * count)))[:count]


def certificate_of(values: list[float], choices: list[tuple[str, ...]], **given: object):  # type: ignore[no-untyped-def]
    return certify_accuracy(TABLE, networks(values, choices), method="trained", made_on="here", **given)  # type: ignore[arg-type]


def test_a_table_that_knows_the_truth_is_certified_in_full() -> None:
    choices = drawn(40)
    exact = {row: 90 - TABLE.loss_pp(row) for row in choices}
    certificate = certificate_of([exact[row] for row in choices], choices)
    assert (certificate.networks, certificate.method, certificate.made_on) == (40, "trained", "here")
    assert (certificate.kendall_tau, certificate.kendall_tau_low, certificate.kendall_tau_high) == (
        1.0,
        1.0,
        1.0,
    )
    assert certificate.spearman == pytest.approx(1.0)
    assert certificate.top1_pct == pytest.approx(np.mean(list(exact.values())))
    wrong = certificate_of([-exact[row] + 100 for row in choices], choices)
    assert (wrong.kendall_tau, wrong.spearman) == (-1.0, pytest.approx(-1.0))


@pytest.mark.parametrize("correlation", [0.5, 0.95])
def test_ninety_five_of_a_hundred_intervals_hold_the_true_correlation(correlation: float) -> None:
    """Of two normal columns with correlation r, tau is 2/pi arcsin(r) and Spearman's 6/pi arcsin(r/2)."""
    rng = np.random.default_rng(1)
    tau, rho = 2 / pi * asin(correlation), 6 / pi * asin(correlation / 2)
    held = np.zeros(2)
    for trial in range(40):
        a = rng.standard_normal(60)
        b = correlation * a + sqrt(1 - correlation**2) * rng.standard_normal(60)
        for index, (truth, (low, high)) in enumerate(zip((tau, rho), intervals(a, b, trial), strict=True)):
            assert -1 <= low < high <= 1
            held[index] += low <= truth <= high
    assert (held >= 34).all(), held


def test_intervals_narrow_with_the_number_of_networks_and_many_take_no_longer() -> None:
    rng = np.random.default_rng(2)
    widths = []
    for count in (10, 50, 900, 3000):
        a = rng.standard_normal(count)
        (low, high), _ = intervals(a, a + rng.standard_normal(count), 0)
        assert low < rank_correlation(a, a + 0).tau
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert (widths[0] > 0.4, widths[-1] < 0.05) == (True, True)


def test_the_noise_is_that_of_the_images_and_no_half_that_is_harder_for_all() -> None:
    rng = np.random.default_rng(3)
    chance = rng.uniform(0.6, 0.9, 400)  # of a hit, network by network
    images = 500
    easy = rng.binomial(images // 2, chance + 0.05) / (images // 2)
    hard = rng.binomial(images // 2, chance - 0.05) / (images // 2)
    noise = noise_of_halves(list(zip(100 * easy, 100 * hard, strict=True)))
    expected = 100 * sqrt(float(np.mean(chance * (1 - chance))) / images)
    assert noise.pp == pytest.approx(expected, rel=0.1)
    first, second = (rng.binomial(images, chance) for _ in range(2))
    again = rank_correlation(first.astype(float), second.astype(float)).tau
    assert noise.tau == pytest.approx(again, abs=0.04)


def test_repeated_networks_count_once_and_tell_the_noise() -> None:
    rng = np.random.default_rng(4)
    different = drawn(60)
    truth = {row: 90 - 2 * TABLE.loss_pp(row) for row in different}
    choices = [row for row in different for _ in range(4)]
    values = [truth[row] + 1.5 * rng.standard_normal() for row in choices]
    certificate = certificate_of(values, choices)
    assert certificate.networks == 60
    assert certificate.noise_pp == pytest.approx(1.5 / 2, rel=0.15), "of the mean of four"
    assert certificate.noise_tau is not None
    assert certificate.kendall_tau > certificate.noise_tau > 0.7, (
        "the table is exact: only its networks are noisy"
    )
    few = certificate_of(values[:9], different[:9])
    assert (few.noise_pp, few.noise_tau) == (0.0, None)


def test_macs_are_counted_where_the_space_is_known() -> None:
    space = build_space("ponas", 32, 10)
    layers, labels = tuple(layer.name for layer in space.layers), space.labels
    zeros = tuple(tuple(float(index % 3) for index in range(12)) for _ in layers)
    rng = np.random.default_rng(5)
    rows = [tuple(labels[0][i] for i in rng.integers(0, 12, 19)) for _ in range(30)]
    macs = [network_cost(count_macs, Architecture(space, row)) for row in rows]
    found = Networks(
        Path("e.csv"), layers, tuple(rows), tuple(20 + x / 1e7 for x in macs), "accuracy", (2,) * 30
    )
    certificate = certify_accuracy(
        AccuracyTable(Grid(layers, labels, zeros)), found, method="inherited", made_on="", space=space
    )
    assert certificate.macs_tau == pytest.approx(1.0)
    assert certificate.kendall_tau < 0.5


def test_networks_that_prove_nothing_are_refused() -> None:
    choices = drawn(12)
    with pytest.raises(MeasurementError, match="3 different networks with a top-1 cannot certify"):
        certificate_of([70.0, 71.0, 72.0], choices[:3])
    with pytest.raises(MeasurementError, match=r"all 12 networks reach 98\.50 %"):
        certificate_of([98.5] * 12, choices)
    strange = [*choices[:-1], ("a", "b", "e", "a", "a")]
    with pytest.raises(FileFormatError, match=r"line 13, column 3: unknown candidate of layer z 'e'"):
        certificate_of(list(np.arange(12.0)), strange)
