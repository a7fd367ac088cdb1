"""What an accuracy table's certificate and its fit say against choosing by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ponas_deploy.tables.accuracy import AccuracyCertificate, AccuracyOrigin, AccuracyTable
from ponas_deploy.tables.accuracy_quality import accuracy_findings, accuracy_warnings
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.named import accuracy_table
from ponas_deploy.tables.quality import doubts, table_warnings

LOSS = Grid(("1", "2"), (("a", "b"),) * 2, ((0.0, 2.0), (0.0, 1.0)))


def certified(tau: float, low: float, high: float, *details: tuple[str, str]) -> AccuracyTable:
    certificate = AccuracyCertificate(60, tau, low, high, tau, 0.5)
    origin = AccuracyOrigin("rows.csv", "ridge", 224, 1000, 0, (), 0, details)
    return AccuracyTable(LOSS, origin=origin, certificate=certificate)


def test_a_correlation_that_may_be_zero_is_an_error() -> None:
    (found,) = accuracy_findings(certified(0.11, -0.05, 0.26))
    assert (found.severity, found.about) == ("error", "certificate")
    assert found.message == (
        "rank correlation 0.11 (-0.05 to 0.26, 60 networks): it may be zero, so a choice by this table may be"
        " no better than chance."
    )
    assert doubts({}, certified(0.11, -0.05, 0.26)) == (f"the accuracy table: {found.message}",)


def test_a_low_correlation_is_a_warning_that_says_what_it_means() -> None:
    (found,) = accuracy_findings(certified(0.43, 0.26, 0.58))
    assert found.severity == "warning"
    assert "29 of 100 pairs of networks are in the wrong order" in found.message
    assert doubts({}, certified(0.43, 0.26, 0.58)) == ()
    assert table_warnings({}, certified(0.43, 0.26, 0.58)) == accuracy_warnings(certified(0.43, 0.26, 0.58))


@pytest.mark.parametrize("detail", [("drift", "yes"), ("additive", "no"), ("identified", "no")])
def test_what_a_fit_said_stays_with_the_table(detail: tuple[str, str]) -> None:
    (found,) = accuracy_findings(certified(0.9, 0.85, 0.93, detail))
    assert (found.severity, found.about) == ("warning", "fit")
    assert found.message.startswith(f"{detail[0]}: ")


@pytest.mark.parametrize(
    "name", ["ponas", "ponas-digits", "ponas-progressive", "ponas-digits-progressive", "ofa-mbv3"]
)
def test_nothing_speaks_against_what_is_shipped(name: str) -> None:
    assert accuracy_findings(accuracy_table(f"accuracy/{name}")) == ()


def test_nothing_is_said_of_a_table_that_nobody_certified() -> None:
    assert accuracy_findings(replace(certified(0.0, 0.0, 0.0), certificate=None)) == ()
