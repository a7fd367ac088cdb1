"""The shipped ImageNet table of `ofa-mbv3`: how well it predicts held-out rows, and its fit once more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ponas_deploy.fitting import Evaluated, Fit, fit_document, fit_networks, predict, table_of
from ponas_deploy.fitting.design import priors
from ponas_deploy.fitting.ranks import rank_correlation
from ponas_deploy.fitting.rows import Rows
from ponas_deploy.fitting.scale import LOG_ERROR
from ponas_deploy.fitting.validate import hold_out
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.named import accuracy_table
from ponas_deploy.tables.networks_csv import read_networks

ROWS = Path(__file__).parents[2] / "benchmarks" / "data" / "ofa_mbv3_imagenet.csv"


@pytest.fixture(scope="module")
def shipped() -> AccuracyTable:
    return accuracy_table("ofa-mbv3")


@pytest.fixture(scope="module")
def fit() -> Fit:
    return fit_networks(read_networks(ROWS), space="ofa-mbv3")


def test_held_out_subnets_are_predicted_as_the_certificate_says(fit: Fit, shipped: AccuracyTable) -> None:
    found, certificate = fit_document(fit), shipped.certificate
    assert certificate is not None
    assert certificate.rmse_pp is not None
    assert found.rms_error_pp is not None
    assert certificate.kendall_tau == pytest.approx(found.cross_validated_tau, abs=1e-3)
    assert certificate.rmse_pp == pytest.approx(found.rms_error_pp, abs=1e-3)
    assert found.cross_validated_tau >= 0.93
    assert found.rms_error_pp <= 0.15
    assert (found.additive, found.identified, found.drift, found.warnings) == (True, True, False, ())
    assert (certificate.method, certificate.networks) == ("held out", 1200)
    assert certificate.made_on.startswith("ofa_mbv3_imagenet.csv: ImageNet at 224 px, weights inherited")


def test_the_shipped_table_is_the_fit_of_its_rows(fit: Fit, shipped: AccuracyTable) -> None:
    origin = shipped.origin
    assert origin is not None
    known = tuple((name, text) for name, text in origin.details if name in _OTHERS)
    assert [name for name, _ in known] == list(_OTHERS), "source, commit and licence are said"
    made = table_of(
        fit,
        created=shipped.created,
        evaluated=Evaluated(origin.data, origin.images, origin.weights, known),
    )
    assert isinstance(made, AccuracyTable)
    assert made.origin == origin
    assert made.space == shipped.space
    for row, there in zip(made.loss.values, shipped.loss.values, strict=True):
        assert row == pytest.approx(there, abs=1e-3)


_OTHERS = ("source", "commit", "licence", "batch_norm", "repeats")


def test_the_curved_scale_is_kept_because_it_predicts_better(fit: Fit) -> None:
    assert 15 < fit.scale.floor_pct < 100 - max(fit.networks.values)
    rows = Rows.of(fit.networks, fit.layout)
    straight = hold_out(rows, fit.layout, priors(fit.layout), LOG_ERROR, 0)
    assert fit.held_out.rms_error < 0.65 * straight.rms_error
    assert fit.tau.tau > straight.tau.tau


def test_rows_that_had_no_part_in_the_scale_either_are_predicted_as_well() -> None:
    """The floor is chosen on held-out rows; here a third of the rows had no part in that choice."""
    networks = read_networks(ROWS)
    known, others = (
        replace(
            networks,
            **{name: getattr(networks, name)[part] for name in ("choices", "values", "lines")},
        )
        for part in (slice(0, 800), slice(800, None))
    )
    predicted = np.array(predict(table_of(fit_networks(known, space="ofa-mbv3")), others.choices))
    away = predicted - np.array(others.values)
    assert float(np.sqrt(np.square(away).mean())) <= 0.15
    assert rank_correlation(predicted, np.array(others.values)).tau >= 0.93
