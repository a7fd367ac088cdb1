"""Few networks are fitted by what blocks are made of, many by the blocks: leaving one out decides which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ponas_deploy.fitting import Fit, fit_networks
from ponas_deploy.fitting.ranks import rank_correlation
from ponas_deploy.tables.networks_csv import Networks
from searchspace import build_space

SPACE = build_space("ponas", 32, 10)
LAYERS = tuple(layer.name for layer in SPACE.layers)
LABELS = SPACE.labels[0]


def of_parts(rng: np.random.Generator) -> np.ndarray:
    """Effects (19, 12) on the log of the error: a kernel, an expansion and a squeeze-and-excite a layer."""
    kernel = np.tile([0.10, 0.05, 0.0], 4)
    expansion = np.repeat([0.08, 0.0], 6)
    squeeze = np.tile(np.repeat([0.03, 0.0], 3), 2)
    found: np.ndarray = rng.uniform(0, 2, (19, 1)) * kernel + rng.uniform(0, 2, (19, 1)) * (
        expansion + squeeze
    )
    return found


def of_few_layers(rng: np.random.Generator) -> np.ndarray:
    """The same, but few layers decide: so it was on digits, where the strided ones did."""
    return of_parts(rng) * rng.choice([0.1, 0.1, 0.1, 3], (19, 1))


def of_blocks(rng: np.random.Generator) -> np.ndarray:
    """Effects that have nothing to do with a block's parts."""
    return 0.1 * rng.standard_normal((19, 12))


def fitted(effects: np.ndarray, count: int, rng: np.random.Generator) -> tuple[Fit, float]:
    """A fit to noisy networks, and its rank correlation with the truth of 300 others."""
    rows = rng.integers(0, 12, (count + 300, 19))
    truth = 2.5 + effects[np.arange(19), rows].sum(axis=1)
    top1 = 100 - np.exp(truth + 0.05 * rng.standard_normal(len(truth)))
    choices = tuple(tuple(LABELS[index] for index in row) for row in rows)
    found = fit_networks(
        Networks(Path("n.csv"), LAYERS, choices[:count], tuple(top1[:count]), "accuracy", (2,) * count)
    )
    predicted = found.model.predict(found.layout.cells(choices[count:]))
    return found, rank_correlation(predicted, truth[count:]).tau


@pytest.mark.parametrize(("count", "least"), [(50, 0.5), (100, 0.7), (200, 0.8)])
def test_fewer_networks_than_cells_are_fitted_by_parts(count: int, least: float) -> None:
    rng = np.random.default_rng(count)
    found, tau = fitted(of_parts(rng), count, rng)
    assert "factors" in found.model.prior
    assert tau > least
    assert found.tau.tau > least - 0.15


@pytest.mark.parametrize(("count", "seed"), [(40, 3), (50, 5), (60, 0)])
def test_a_fit_that_follows_every_row_is_not_mistaken_for_the_best(count: int, seed: int) -> None:
    """Cells without a ridge meet all rows of few networks, and left-out ones not at all."""
    rng = np.random.default_rng(seed)
    found, tau = fitted(of_few_layers(rng), count, rng)
    assert "factors" in found.model.prior
    assert tau > 0.4


def test_blocks_that_follow_no_parts_are_fitted_one_by_one() -> None:
    rng = np.random.default_rng(0)
    found, tau = fitted(of_blocks(rng), 600, rng)
    assert found.model.prior in ("cells", "labels")
    assert tau > 0.8
