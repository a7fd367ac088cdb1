"""The rule by which a search chooses, alone and in a search: accuracy against the probability of missing."""

from __future__ import annotations

from dataclasses import replace
from math import log
from pathlib import Path

import pytest

from planted_clocks import EVERY, Clock, attempt, spread, with_certificate
from planted_search import device_ms, middle_ms, tables, task
from ponas_deploy.backends import RunSettings
from ponas_deploy.engines.attempt import Attempt
from ponas_deploy.engines.attempts import best_of, missing, next_attempt
from ponas_deploy.engines.decision import (
    MISS_PP,
    Estimate,
    Observation,
    TableFactor,
    cost_pp,
    factor,
    gain_pp,
    timed,
    untimed,
)
from ponas_deploy.engines.decision import missing as missing_later
from ponas_deploy.engines.loop import meet_budget
from ponas_deploy.engines.reference import ReferenceTiming
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.tables.store import StoredTable
from searchspace.space import Space

pytestmark = pytest.mark.usefixtures("planted_clock")


def tried(
    number: int, stored: StoredTable, predicted_ms: float, measured_ms: float, loss_pp: float, limit_ms: float
) -> Attempt:
    """One that was timed on a machine whose speed varies by 15 %."""
    one = attempt(stored, predicted_ms, measured_ms, measured_ms, measured_ms, budget_ms=limit_ms)
    choice = replace(one.choice, predicted_loss_pp=loss_pp, choices=(str(number),))
    return replace(one, number=number, choice=choice, reproducibility_pct=15.0)


def test_a_budget_met_by_a_little_beats_twenty_points(tiny: Space, tmp_path: Path) -> None:
    stored = tables(tiny, tmp_path)
    far = tried(1, stored, 5.2, 3.272, 22.7, 5.949)
    near = tried(2, stored, 5.9, 5.868, 2.9, 5.949)
    assert best_of([far, near]) is near
    cautious = tried(3, stored, 5.4, 5.3, 3.1, 5.949)
    assert missing(near, [near, cautious]) > 0.1 > missing(cautious, [near, cautious])
    assert best_of([near, cautious]) is cautious, "a fifth of a point is not worth that risk"
    assert best_of([tried(1, stored, 5.2, 6.0, 2.0, 5.949)]) is None


def test_between_one_that_is_far_below_and_one_that_just_fits_others_are_tried(
    tiny: Space, tmp_path: Path
) -> None:
    stored = tables(tiny, tmp_path)
    by_latency = sorted(EVERY, key=stored.table.predict_ms)
    limit_ms = 1.014 * stored.table.predict_ms(by_latency[-8])
    given = task(tiny, tmp_path, limit_ms, stored)
    losses = given.accuracy.table.loss

    def planted(number: int, choices: tuple[str, ...]) -> Attempt:
        predicted_ms = stored.table.predict_ms(choices)
        one = tried(number, stored, predicted_ms, predicted_ms, 4 * losses.total(choices), limit_ms)
        return replace(one, choice=replace(one.choice, choices=choices))

    far, near = planted(1, by_latency[0]), planted(2, by_latency[-8])
    found = next_attempt(given, [far, near], None)
    assert found is not None
    assert far.choice.predicted_ms < found.choice.predicted_ms < near.choice.predicted_ms


def test_no_accuracy_worth_a_miss_is_refused_for_fear() -> None:
    assert cost_pp(2.9, 1.0) == 2.9 + MISS_PP < 22.7
    assert cost_pp(2.9, 0.0) == 2.9


def test_an_estimate_knows_how_likely_a_limit_is_passed() -> None:
    known = Estimate(2.0, 0.05)
    assert known.above(2.0) == pytest.approx(0.5)
    assert known.above(known.quantile(2.0)) == pytest.approx(0.0228, abs=1e-4)
    assert known.above(float("inf")) == 0.0
    assert known.times(2.0).above(4.0) == pytest.approx(0.5)
    assert Estimate(1.01, 0.0).above(1.0) == pytest.approx(1.0)


def test_a_machine_that_was_busy_at_first_is_forgotten() -> None:
    slow, now = Observation(1.5, 0.0), Observation(1.0, 0.0)
    scales = [factor(TableFactor(), [slow, *[now] * count]).value for count in range(5)]
    assert scales[1] == pytest.approx(1.5 ** (1 / 3))
    assert scales == sorted(scales, reverse=True)
    assert scales[-1] < 1.02
    assert factor(TableFactor(), [now, slow]).value == pytest.approx(1.5 ** (2 / 3)), "and noticed at once"
    noisy = [replace(one, noise=0.3) for one in (slow, now)]
    assert factor(TableFactor(), noisy).value == pytest.approx(1.5**0.5), "noise explains both"


def test_certificate_and_timings_count_as_they_are_certain() -> None:
    certified = TableFactor(1.0, 0.01)
    assert factor(certified, []) == Estimate(1.0, pytest.approx(0.05))
    assert untimed(TableFactor(), []).value == 1.0
    exact, vague = (factor(certified, [Observation(1.1, noise)]).value for noise in (0.001, 0.2))
    assert exact == pytest.approx(1.1, abs=5e-3)
    assert vague == pytest.approx(1.0, abs=1e-2)
    others = [Observation(1.0, 0.02)] * 3
    one = timed(certified, others, Observation(1.06, 0.02))
    assert 1.0 < one.value < 1.06
    assert one.deviation < 0.02
    assert timed(TableFactor(), [], Observation(1.06, 0.02)) == Estimate(1.06, 0.02)


def test_what_all_timings_share_does_not_average_out() -> None:
    """Four timings on a machine that may not be as usual: certificate against clock."""
    seen = [Observation(1.2, 0.001)] * 4
    assert factor(TableFactor(), seen, 0.1) == Estimate(pytest.approx(1.2), pytest.approx(0.1, rel=0.05))
    assert timed(TableFactor(), seen, seen[0], 0.1).deviation == pytest.approx(0.1, rel=0.01)
    certified = TableFactor(1.0, 0.001)
    told, untold = (factor(certified, seen, common).value for common in (0.0, 0.5))
    assert told == pytest.approx(1.2, abs=0.02)
    assert untold == pytest.approx(1.0, abs=0.01)


def test_what_is_known_exactly_may_still_be_missed_later() -> None:
    assert missing_later(Estimate(0.999, 0.0), 1.0) == pytest.approx(0.46, abs=0.01)
    assert missing_later(Estimate(0.97, 0.0), 1.0) < 0.01
    assert missing_later(Estimate(0.97, 0.1), 1.0) > 0.3


def test_a_slow_moment_is_not_held_against_a_network(tiny: Space, tmp_path: Path) -> None:
    """While the second was timed everything took a fifth longer; the reference network says so."""
    stored = tables(tiny, tmp_path)
    timings = ((1, 5.0, 5.0, 1.0), (2, 5.1, 6.12, 1.2), (3, 5.2, 5.2, 1.0))
    plain = [tried(number, stored, predicted, taken, 5.0, 5.4) for number, predicted, taken, _ in timings]

    def beside(one: Attempt, level: float) -> Attempt:
        assert one.timing
        return replace(one, timing=replace(one.timing, reference=ReferenceTiming("n", (1e6 * level,) * 3)))

    told = [beside(one, level) for one, (*_, level) in zip(plain, timings, strict=True)]
    assert missing(plain[1], plain) > 0.2
    assert missing(told[1], told) < missing(plain[1], plain) / 2
    untold = [told[0], plain[1], told[2]]
    assert missing(plain[1], untold) == missing(plain[1], plain), "one without it: nothing is taken out"


def test_what_noise_hides_is_not_worth_a_timing() -> None:
    """Half of the time it misses: where a timing tells, it is worth trying; where not, it costs 5 points."""
    even = Estimate(1.0, 0.02)
    assert gain_pp(4.0, 1.0, even, 1.0, noise=0.0005) == pytest.approx(1.5, rel=0.01)
    assert gain_pp(4.0, 1.0, even, 1.0, noise=2.0) == pytest.approx(0.0, abs=1e-3)
    sure = Estimate(0.9, 0.001)
    assert gain_pp(4.0, 1.0, sure, 1.0, noise=2.0) == pytest.approx(3.0)


def test_patience_does_not_end_a_search_whose_best_engine_uses_little(tiny: Space, tmp_path: Path) -> None:
    """A table that is far too slow: its first engine uses little of the budget."""
    slow, notes = tables(tiny, tmp_path, optimism=0.6), list[str]()
    given = task(tiny, tmp_path, 0.97 * max(device_ms(tiny, choices) for choices in EVERY), slow)
    done = meet_budget(given, tmp_path / "engine", tries=1, on_note=notes.append)
    assert done.attempts[0].used_pct < 85
    assert done.chosen.used_pct >= 85
    assert any(note.endswith("the search goes on, up to 4 tries or 120 s") for note in notes)
    ended = meet_budget(given, tmp_path / "at-once", timeout_s=0)
    assert len(ended.attempts) == 1


def test_a_search_that_has_the_best_network_goes_on_for_no_other(tiny: Space, tmp_path: Path) -> None:
    notes = list[str]()
    given = task(tiny, tmp_path, 1e6, tables(tiny, tmp_path))
    done = meet_budget(given, tmp_path / "engine", tries=1, on_note=notes.append)
    assert len(done.attempts) == 1
    assert not any("goes on" in note for note in notes)


def test_one_try_is_no_search(tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both cores are busy until the third timing; the table's noise makes the first engine the fastest."""
    stored, timings = with_certificate(tables(tiny, tmp_path), noise_floor_pct=60.0), list[Path]()

    def busy_at_first(
        engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0, **place: object
    ) -> EngineTiming:
        timings.append(engine)
        clock: Clock = spread([1.36 if len(timings) < 3 else 1.0])
        return clock(engine, backend, settings)

    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", busy_at_first)
    done = meet_budget(task(tiny, tmp_path, 1.1 * middle_ms(tiny), stored), tmp_path / "engine")
    assert done.chosen.meets
    assert len(done.attempts) > 1
    assert log(done.chosen.used_pct / 100) > log(0.85)
