"""Margins and findings against planted certificates: networks whose measured over predicted is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from ponas_deploy.checks.table_file import check_table
from ponas_deploy.errors import MeasurementError
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import Certificate, Conditions, LatencyTable, NetworkLatency
from ponas_deploy.tables.margin import margin
from ponas_deploy.tables.measured_how import FitSummary, HeldOutLatencies, MeasurementProtocol
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.quality import drift_pct, quality_findings, reproducibility_pct, usable_tables
from ponas_deploy.tables.rounds import InterferenceSummary
from sample_tables import latency_table

GRID = Grid(("1", "2"), (("a", "b"),) * 2, ((1.0, 2.0), (1.0, 2.0)), 1.0)


def certified(
    ratios: list[float], *, noise_pct: float = 0.0, rounds: tuple[float, ...] = (1.0,), **figures: float
) -> LatencyTable:
    """A table whose check networks measured `ratios` times their predictions."""
    networks = tuple(
        NetworkLatency(
            ("a", "b"), 4.0, 4.0, 4.0 * ratio, Measurement(1, tuple(4e6 * ratio * r for r in rounds))
        )
        for ratio in ratios
    )
    good = {"mean_error_pct": 1.0, "worst_error_pct": 2.0, "kendall_tau": 0.99, "noise_tau": 0.99}
    certificate = Certificate(
        isolated_mean_error_pct=9.0, noise_floor_pct=noise_pct, networks=networks, **{**good, **figures}
    )
    return LatencyTable(GRID, statistic="minimum", certificate=certificate)


# Margins


def test_the_margin_is_the_quantile_of_measured_over_predicted() -> None:
    ratios = [1 + place / 100 for place in range(39)]
    found = margin(certified(ratios), 0.9)
    assert found is not None
    assert found.factor == pytest.approx(1.35)  # the 36th of 39: (39 + 1) * 0.9
    assert found.typical == pytest.approx(1.19)
    assert (found.networks, found.shown, found.shortfall, found.by_noise) == (39, 0.9, "", False)
    assert found.text == "+35.0 % for 90 % of networks, from 39 check networks"
    assert margin(certified(ratios), 0.5).factor == pytest.approx(1.19)  # type: ignore[union-attr]


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_so_many_new_networks_stay_under_the_budget(confidence: float) -> None:
    """Split conformal prediction holds for any distribution; here a skewed one with a tail."""
    random = np.random.default_rng(5)

    def draw(count: int) -> list[float]:
        return list(map(float, 0.97 + random.gamma(2.0, 0.02, count)))

    under = []
    for _ in range(300):
        found = margin(certified(draw(40)), confidence)
        assert found is not None
        under.append(np.mean(np.array(draw(100)) <= found.factor))
    assert confidence - 0.01 <= float(np.mean(under)) <= confidence + 0.03


def test_too_few_networks_are_said_so_and_the_largest_error_stands_in() -> None:
    found = margin(certified([1.0, 1.04, 1.02]))
    assert found is not None
    assert (found.factor, found.shown) == (1.04, 0.75)
    assert found.shortfall == (
        "its certificate has 3 networks, which show 75 % at most, not 95 % (19 are needed): the largest error"
        " seen is the margin."
    )
    enough = margin(certified([1.0] * 19))
    assert enough is not None
    assert enough.shortfall == ""


def test_the_margin_is_never_below_the_noise() -> None:
    quiet, noisy = margin(certified([0.98] * 40)), margin(certified([0.98] * 40, noise_pct=3.0))
    assert quiet is not None
    assert noisy is not None
    assert quiet.factor == 1.0
    assert noisy.by_noise
    assert noisy.factor == pytest.approx(1.031, abs=1e-3)  # 1.645 standard deviations of a full measurement
    assert noisy.text == "+3.1 % for 95 % of networks, the noise floor asks for it"
    # That standard deviation, from what the noise floor is: two halves that differ.
    random = np.random.default_rng(0)
    halves = random.normal(0.0, 1.0, (200_000, 2))
    floor = float(np.abs(halves[:, 0] - halves[:, 1]).mean())
    assert noisy.factor - 1 == pytest.approx(0.03 / floor * 1.645 * halves.mean(axis=1).std(), rel=0.01)


def test_a_higher_percentile_asks_for_more() -> None:
    rounds = (*[1.0] * 80, *[1.2] * 15, *[1.6] * 5)
    table = certified([1.0] * 40, rounds=rounds)
    factors = [found.factor for p in (50, 90, 95, 99) if (found := margin(table, percentile=p))]
    assert factors == pytest.approx([1.0, 1.2, 1.22, 1.6])


def test_without_a_check_network_there_is_no_margin() -> None:
    assert margin(LatencyTable(GRID)) is None
    assert margin(certified([])) is None


# Findings


def words(table: LatencyTable, severity: str) -> list[str]:
    return [finding.message for finding in quality_findings(table) if finding.severity == severity]


def test_a_sound_table_has_no_finding_and_one_without_a_certificate_has_a_note() -> None:
    assert quality_findings(latency_table()) == ()
    (note,) = quality_findings(replace(latency_table(), certificate=None))
    assert (note.severity, note.about) == ("note", "certificate")
    assert note.message.startswith("is absent: nobody checked")


def test_few_networks_bound_the_mean_error_loosely_and_that_is_a_warning() -> None:
    ratios = [1 / (1 + error / 100) for error in (0.4, 3.6, 1.8, 2.2, 4.0, 1.0, 2.8, 2.6, 0.6, 5.0, 1.2, 3.2)]
    errors = np.array([100 * (1 / ratio - 1) for ratio in ratios])
    table = certified(ratios, mean_error_pct=float(errors.mean()))
    assert table.certificate is not None
    bound = errors.mean() + t.ppf(0.95, 12 / 3 - 1) * errors.std(ddof=1) / np.sqrt(12 / 3)
    assert table.certificate.error_bound_pct == pytest.approx(bound, rel=0.02)
    (message,) = words(table, "warning")
    assert "mean error 2.4 %, by 12 networks perhaps 4.0 % (noise floor" in message
    assert quality_findings(certified(ratios * 20, mean_error_pct=float(errors.mean()))) == ()
    assert replace(table.certificate, networks=()).error_bound_pct == table.certificate.mean_error_pct


@pytest.mark.parametrize(
    ("table", "because"),
    [
        (certified([0.8, 1.2, 1.0, 2.0], kendall_tau=0.3, noise_pct=0.5), "additivity fails on this device"),
        (certified([0.8, 1.2], kendall_tau=0.3, noise_tau=0.6, noise_pct=4.0), "the machine was too noisy"),
        (
            certified([1.0, 1.01, 1.02], kendall_tau=0.1, noise_pct=1.0),
            "take 4 to 4.08 ms, so what a network",
        ),
        (certified([0.5, 2.0], mean_error_pct=45.0), "sums of blocks do not predict networks here"),
    ],
)
def test_a_hopeless_table_is_an_error_that_says_why(table: LatencyTable, because: str) -> None:
    (message,) = words(table, "error")
    assert because in message


def test_what_happened_while_it_was_measured_is_a_warning() -> None:
    def drifting(factor: float) -> LatencyTable:
        rounds = tuple(1e5 * (1 + (factor - 1) * place / 29) for place in range(30))
        keys = tuple((f"cell {n}", Measurement(9, rounds)) for n in range(20))
        return replace(latency_table(), measurements=keys, cell_keys=())

    assert drift_pct(drifting(1.0)) == pytest.approx(0.0)
    middles = [1 + 0.2 * place / 29 for place in (4.5, 24.5)]
    assert drift_pct(drifting(1.2)) == pytest.approx(100 * (middles[1] / middles[0] - 1))
    assert drift_pct(latency_table()) is None  # two rounds say nothing
    assert words(drifting(1.04), "warning") == []
    (slower,) = words(drifting(1.2), "warning")
    assert slower.startswith("drift: the machine became 13 % slower from the first third")
    assert "faster" in words(drifting(0.8), "warning")[0]


def test_reproducibility_is_how_far_pairs_of_levels_lie_apart() -> None:
    levels = np.exp(np.random.default_rng(0).normal(0.0, 0.02, (20, 30)))
    rounds = tuple(Measurement(9, (1e5,) * 30, tuple(map(float, row))) for row in levels)
    table = replace(latency_table(), measurements=tuple((f"c{n}", one) for n, one in enumerate(rounds)))
    pairs = levels.ravel()[:300] / levels.ravel()[300:]
    seen = 100 * float(np.quantile(np.abs(pairs - 1), 0.95))
    assert reproducibility_pct(table) == pytest.approx(seen, rel=0.15)
    assert reproducibility_pct(latency_table()) == 0.0, "nobody recorded it"
    slow = certified([1.0] * 20, rounds=tuple(map(float, np.repeat([1.0, 1.1], 10))))
    assert reproducibility_pct(slow) == pytest.approx(277 * 0.1 / 1.05 / 2, rel=0.01), "networks alone varied"


def fitted(**said: bool) -> MeasurementProtocol:
    """The protocol of a table that was fitted, and what the fit said of its rows."""
    sound = {"identified": True, "additive": True, "drift": False}
    return MeasurementProtocol(
        fit=FitSummary(
            "least squares", 400, "rows.csv", "factors", 1.0, 0.9, 0.8, 0.95, 2.0, **(sound | said)
        )
    )


def disturbed(wrong: int) -> MeasurementProtocol:
    because = "other processes used 60 % of the cores"
    return MeasurementProtocol(interference=InterferenceSummary(16, wrong, 0, because))


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (fitted(additive=False), "additivity fails: sums of blocks do not explain"),
        (fitted(drift=True), "drift: the residuals follow the order of the rows"),
        (fitted(identified=False), "cannot tell some of its candidates apart"),
        (disturbed(9), "9 of 16 rounds were disturbed (other processes used 60 % of the cores)"),
    ],
)
def test_what_the_protocol_says_of_the_measuring_is_a_warning(
    protocol: MeasurementProtocol, message: str
) -> None:
    (found,) = words(replace(latency_table(), protocol=protocol), "warning")
    assert message in found
    sound = replace(fitted(), interference=disturbed(3).interference)
    assert quality_findings(replace(latency_table(), protocol=sound)) == ()


def test_a_table_of_a_board_advises_to_look_at_that_board() -> None:
    conditions = Conditions("jetson", "tensorrt", "fp16", 1, 1)
    of_a_board = replace(latency_table(), protocol=disturbed(9), conditions=conditions)
    (finding,) = quality_findings(of_a_board)
    assert "`ponas doctor --device jetson`" in finding.text
    here = replace(of_a_board, conditions=replace(conditions, device=this_machine().name))
    (finding,) = quality_findings(here)
    assert "`ponas doctor`" in finding.text


def test_check_finds_what_the_search_warns_of() -> None:
    table = replace(latency_table(), certificate=certified([0.8, 1.2, 2.0], kendall_tau=0.2).certificate)
    (error,) = [finding for finding in check_table(table) if finding.severity == "error"]
    assert error.message == words(table, "error")[0]


def held_out(ratios: list[float], **said: float) -> LatencyTable:
    """A table that was fitted to whole networks without repeats: held-out rows, and no certificate."""
    rows = HeldOutLatencies((4.0,) * len(ratios), tuple(4.0 * ratio for ratio in ratios))
    figures = {"tau": 0.9, "tau_low": 0.88, "tau_high": 0.92, "mean_error_pct": 1.0, "p95_error_pct": 2.0}
    protocol = fitted()
    assert protocol.fit is not None
    fit = replace(protocol.fit, held_out=rows, **{**figures, **said})  # type: ignore[arg-type]
    return LatencyTable(GRID, protocol=replace(protocol, fit=fit))


def test_a_fitted_table_has_a_margin_from_its_held_out_rows() -> None:
    found = margin(held_out([1 + place / 1000 for place in range(100)]), 0.9)
    assert found is not None
    assert found.factor == pytest.approx(1.093)  # the 94th: 90.9 and one standard error of 3
    assert (found.networks, found.shown, found.shortfall) == (100, 0.9, "")
    assert found.text == "+9.3 % for 90 % of networks, from 100 held-out networks"
    few = margin(held_out([1.0] * 5))
    assert few is not None
    assert few.shortfall.startswith("its fit has held out 5 networks, which show 83 % at most")
    kept, warnings = usable_tables({"t": held_out([1.0] * 40)}, confidence=0.95, promise=True)
    assert kept == {"t"}
    (note,) = warnings
    assert "held-out networks: rank correlation 0.90 (0.88 to 0.92), mean error 1 %" in note


def test_each_third_of_the_held_out_rows_is_kept_under_the_budget() -> None:
    """A table that is wrong where networks are fast: the mean over all of them would hide it."""
    table = held_out([1.0] * 300)
    fit = table.protocol.fit
    assert fit is not None
    rows = HeldOutLatencies(
        tuple(float(place) for place in range(1, 301)),
        tuple(place * (1.2 if place <= 12 else 1.0) for place in range(1, 301)),
    )
    table = replace(table, protocol=replace(table.protocol, fit=replace(fit, held_out=rows)))
    assert margin(table).factor == pytest.approx(1.2)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("said", "severity", "words_of_it"),
    [
        ({"tau": 0.11, "tau_low": -0.02, "tau_high": 0.24}, "error", "the correlation may be zero"),
        ({"tau": 0.26, "tau_low": 0.2, "mean_error_pct": 19.0}, "error", "hardly tells a fast network"),
        ({"mean_error_pct": 31.0}, "error", "sums do not predict networks here"),
        ({"mean_error_pct": 5.0}, "warning", "may swap places"),
        ({"p95_error_pct": 46.0}, "warning", "one held-out network in twenty is off by 46 % or more"),
    ],
)
def test_what_a_fit_said_of_held_out_rows_is_said_of_its_table(
    said: dict[str, float], severity: str, words_of_it: str
) -> None:
    table = held_out([1.0] * 40, **said)
    (found,) = words(table, severity)
    assert words_of_it in found
    if severity == "error":
        with pytest.raises(MeasurementError, match="No engine is promised by such a table"):
            usable_tables({"t": table}, confidence=0.95, promise=True)


# Which tables can be used

HOPELESS = certified([0.98, 1.02, 1.0, 1.01] * 10, kendall_tau=0.3)
SOUND = certified([1.0] * 40)


def test_a_hopeless_table_is_left_out_where_another_is_sound() -> None:
    kept, warnings = usable_tables({"bad": HOPELESS, "good": SOUND}, confidence=0.95, promise=True)
    assert kept == {"good"}
    (sentence,) = warnings
    assert sentence.startswith("bad: certificate: rank correlation 0.30")
    assert sentence.endswith("It is left out.")


def test_a_hopeless_table_alone_promises_nothing_but_may_be_measured() -> None:
    kept, warnings = usable_tables({"bad": HOPELESS}, confidence=None, promise=False)
    assert kept == {"bad"}
    assert warnings[0].endswith("only measuring says how fast that is.")
    with pytest.raises(MeasurementError, match=r"^bad: certificate: rank correlation 0\.30.*make it again"):
        usable_tables({"bad": HOPELESS}, confidence=0.95, promise=True)


def test_a_confidence_that_cannot_be_kept_is_said() -> None:
    csv = LatencyTable(GRID)
    assert [text.partition(": ")[2] for text in usable_tables({"t": csv}, confidence=0.9, promise=True)[1]][
        1
    ] == ("no check networks, so no margin can be taken: chosen with the whole budget.")
    (few,) = usable_tables({"t": certified([1.0] * 5)}, confidence=0.9, promise=True)[1]
    assert few.startswith("t: its certificate has 5 networks, which show 83 % at most, not 90 %")
    assert usable_tables({"t": SOUND}, confidence=0.9, promise=True) == (frozenset({"t"}), ())
