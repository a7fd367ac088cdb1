"""Strengths that come out of the data, on data whose strengths are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ponas_deploy.fitting.shrink import FREE, Strengths, solve, strengths

Floats = NDArray[np.float64]
COUNT, COLUMNS = 60, 20
USUAL = Strengths((("large", 1e-3), ("none", 1e-3)), noise=1e-4)
KINDS = (FREE, *["large"] * COLUMNS, *["none"] * COLUMNS)


def planted(noise: float, wild: int = 0, seed: int = 0) -> tuple[Floats, Floats]:
    """Rows over their targets, and the weights: one near 1, some around zero, and some that are zero."""
    rng = np.random.default_rng(seed)
    columns = np.hstack([np.ones((COUNT, 1)), rng.uniform(0, 0.4, (COUNT, 2 * COLUMNS))])
    weights = np.concatenate([[1.0], 0.2 * rng.standard_normal(COLUMNS), np.zeros(COLUMNS)])
    targets = columns @ weights * (1 + noise * rng.standard_normal(COUNT))
    targets[:wild] *= 2
    return columns / targets[:, None], weights


def test_a_kind_that_matters_gets_its_variance_and_one_that_does_not_hardly_any() -> None:
    found = strengths(planted(0.002)[0], KINDS, USUAL)
    variances = dict(found.variances)
    assert 0.1 < np.sqrt(variances["large"]) < 0.4
    assert variances["none"] < 1e-4
    assert 0.001 < np.sqrt(found.noise) < 0.004


def test_weights_are_found() -> None:
    rows, weights = planted(0.001)
    found, inflation = solve(rows, KINDS, strengths(rows, KINDS, USUAL))
    assert found[1 : 1 + COLUMNS] == pytest.approx(weights[1 : 1 + COLUMNS], abs=0.03)
    assert np.median(inflation) == 1


def test_noise_alone_is_not_learnt() -> None:
    rng = np.random.default_rng(1)
    learnt = 0
    for _ in range(10):
        columns = np.hstack([np.ones((COUNT, 1)), rng.uniform(0, 0.4, (COUNT, 2 * COLUMNS))])
        rows = columns / (1 + 0.02 * rng.standard_normal(COUNT))[:, None]
        learnt += sum(variance > 1e-3 for _, variance in strengths(rows, KINDS, USUAL).variances)
    assert learnt == 0, "no more than is usual"


def test_few_rows_leave_a_kind_near_what_is_usual() -> None:
    rows = planted(0.002)[0]
    few, many = (dict(strengths(some, KINDS, USUAL).variances)["large"] for some in (rows[:3], rows))
    assert 3e-4 < few < 1e-2 < many


def test_wild_rows_get_more_noise_and_hardly_move_the_rest() -> None:
    rows, weights = planted(0.002, wild=4)
    found, inflation = solve(rows, KINDS, strengths(rows, KINDS, USUAL))
    assert inflation[:4].min() > 20
    assert found[1 : 1 + COLUMNS] == pytest.approx(weights[1 : 1 + COLUMNS], abs=0.1)
