"""What is chosen is measured a second time, and verification measures twice before it says no."""

from __future__ import annotations

from pathlib import Path

import pytest

from planted_clocks import (
    Wandering,
    spread,
)
from planted_search import device_ms, middle_ms, task
from ponas_deploy.checks.engine import verify
from ponas_deploy.engines.loop import WeightsSource, meet_budget
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.errors import BudgetError, MeasurementError
from searchspace.space import Space
from searchspace.weights import random_weights

pytestmark = pytest.mark.usefixtures("planted_clock")


def test_what_is_returned_met_the_budget_in_both_measurements_together(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then everything takes 20 % longer: half of the inferences, so that the median is in between."""
    clock, notes = Wandering(1.2), list[str]()
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", clock)
    budget = middle_ms(tiny)
    done = meet_budget(task(tiny, tmp_path, budget), tmp_path / "engine", on_note=notes.append)
    assert done.chosen.timing is not None
    assert len(done.chosen.timing.processes_ns) == 4
    assert done.chosen.timing.noise_floor_pct == pytest.approx(20, abs=0.1)
    assert device_ms(tiny, done.manifest.choices) * 1.1 <= budget * 1.001
    assert any("measured twice, over the budget" in note for note in notes)
    refused = next(one for one in done.attempts if not one.meets)
    assert device_ms(tiny, refused.choice.choices) <= budget, "it met the budget at first"


def test_a_device_that_never_holds_is_an_error(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", Wandering(9.0))
    with pytest.raises(BudgetError, match=r"no engine met .* in \d+ tries: the fastest one measured"):
        meet_budget(task(tiny, tmp_path, middle_ms(tiny)), tmp_path / "engine", tries=4)
    assert not (tmp_path / "engine").exists()


def test_the_floor_covers_all_the_time_and_verify_grants_it(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", Wandering(1.06))
    done = meet_budget(task(tiny, tmp_path, middle_ms(tiny)), tmp_path / "engine")
    assert done.chosen.timing is not None
    floor_pct = done.chosen.timing.noise_floor_pct
    assert floor_pct == pytest.approx(6, abs=0.1)
    found = verify(tmp_path / "engine")
    assert found.manifest.measured is not None
    promised_pct = found.manifest.measured.noise_pct(found.percentile)
    assert promised_pct == found.noise_pct == pytest.approx(floor_pct)
    limit = (found.budget_ms or 0) / device_ms(tiny, done.manifest.choices)
    for factor, meets in ((limit * 1.055, True), (limit * 1.065, False)):
        monkeypatch.setattr("ponas_deploy.checks.engine.time_engine", spread([factor]))
        assert verify(tmp_path / "engine").meets_budget is meets


def test_verify_measures_twice_before_it_says_no(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet_budget(task(tiny, tmp_path, middle_ms(tiny)), tmp_path / "engine")
    slow = iter((spread([1.2]), spread([1.0])))
    monkeypatch.setattr(
        "ponas_deploy.checks.engine.time_engine", lambda *given, **named: next(slow)(*given, **named)
    )
    found = verify(tmp_path / "engine")
    assert found.timing is not None
    assert (len(found.timing.processes_ns), found.meets_budget) == (4, True)
    assert next(slow, None) is None


def test_an_engine_with_finished_weights_is_measured_twice_too(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = WeightsSource("trained", random_weights, finish=lambda a: random_weights(a, seed=7))
    given = task(tiny, tmp_path, middle_ms(tiny), weights=finish)
    done = meet_budget(given, tmp_path / "engine")
    assert [len(one.timing.processes_ns) for one in done.attempts if one.timing] == [2, 4]
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", Wandering(9.0))
    with pytest.raises(MeasurementError, match=r"other-weights\.safetensors"):
        meet_budget(given, tmp_path / "other")


def test_two_measurements_are_one() -> None:
    first, later = EngineTiming(((10, 20, 30),), (5.0,)), EngineTiming(((40, 50, 60),), (25.5,))
    both = first.with_later(later)
    assert both == EngineTiming(((10, 20, 30), (40, 50, 60)), (5.0, 25.5))
    assert (both.span_s, both.runs, both.percentile_ms(50)) == (20.5, 6, pytest.approx(35e-6))
    assert both.noise_floor_pct == pytest.approx(150)
    assert both.noise_pct(99) == pytest.approx(100 * (59.8 / 29.8 - 1))
    assert EngineTiming(((1,),)).with_later(later).started_s == ()
