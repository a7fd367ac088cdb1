"""Several devices' tables as one prior, on planted devices that resemble some of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ponas_deploy.fitting.mixture import Mixture, mixture
from ponas_deploy.tables.grid import Grid

LAYERS, CANDIDATES = 10, 6
LABELS = tuple(f"op{index}" for index in range(CANDIDATES))


def device(rng: np.random.Generator, like: Grid | None = None, apart: float = 0.4) -> Grid:
    """A device whose cells differ from those of another one by random factors."""
    base = np.array(like.values) if like else rng.uniform(0.5, 2, (LAYERS, CANDIDATES))
    values = base * np.exp(apart * rng.standard_normal(base.shape))
    layers = tuple(str(layer) for layer in range(LAYERS))
    return Grid(layers, (LABELS,) * LAYERS, tuple(tuple(map(float, row)) for row in values), 1.0)


def drawn(rng: np.random.Generator, count: int) -> list[tuple[str, ...]]:
    return [tuple(str(rng.choice(LABELS)) for _ in range(LAYERS)) for _ in range(count)]


def sums(grid: Grid, networks: list[tuple[str, ...]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([grid.total(choices) for choices in networks])


def error_pct(grid: Grid, truth: Grid, networks: list[tuple[str, ...]]) -> float:
    """The error over networks that nobody measured, of a grid that a straight line brings here."""
    own, true = sums(grid, networks), sums(truth, networks)
    line = np.polyfit(own, true, 1)
    return float(100 * np.abs(np.polyval(line, own) / true - 1).mean())


def fitted(grids: list[Grid], truth: Grid, seed: int, count: int = 10) -> Mixture:
    rng = np.random.default_rng([seed, 1])
    networks = drawn(rng, count)
    measured = sums(truth, networks) * (1 + 0.01 * rng.standard_normal(count))
    return mixture(grids, networks, measured)


def test_ten_networks_make_more_of_all_tables_than_of_the_one_that_was_named() -> None:
    """Devices are the mean of all of them, each with factors of its own: together they know it best."""
    named, mixed, best = [], [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        middle = device(rng)
        grids = [device(rng, middle) for _ in range(8)]
        truth, unseen = device(rng, middle, 0.15), drawn(rng, 300)
        found = fitted(grids, truth, seed)
        errors = [error_pct(grid, truth, unseen) for grid in grids]
        named.append(errors[0])
        best.append(min(errors))
        mixed.append(error_pct(found.grid, truth, unseen))
        assert sum(found.weights) == pytest.approx(1)
        assert min(found.weights) >= 0
    assert np.mean(mixed) < 0.65 * np.mean(named)
    assert np.mean(mixed) < np.mean(best), "even the best of them, which nobody knows beforehand"


def test_a_table_of_nearly_the_same_device_is_taken_alone() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        grids = [device(rng) for _ in range(5)]
        truth = replace(grids[3].scaled(2.5), fixed=4.0)
        found = fitted(grids, truth, seed)
        assert found.weights == (0.0, 0.0, 0.0, 1.0, 0.0)
        assert found.alone_pct[3] < 0.9 * found.mixed_pct


def test_one_table_is_itself() -> None:
    grid = device(np.random.default_rng(0))
    found = fitted([grid], grid, 0)
    assert found.weights == (1.0,)
    ratios = np.array(found.grid.values) / np.array(grid.values)
    assert np.ptp(ratios) == pytest.approx(0, abs=1e-12)
    assert float(ratios[0, 0]) == pytest.approx(1, rel=0.02)
