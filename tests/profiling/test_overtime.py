"""The time that was asked for is kept: what is beyond it is said first, what is far beyond it is refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ponas_deploy.backends import FakeBackend, RunSettings
from ponas_deploy.errors import MeasurementError
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling import profile as profiles
from ponas_deploy.profiling.bench import Bench
from ponas_deploy.profiling.overtime import most_s, overtime_note, refuse_overtime
from ponas_deploy.profiling.profile import profile
from ponas_deploy.profiling.progress import ProfilingProgress
from searchspace.space import Space

QUICK = Plan(min_rounds=3, max_rounds=3, floor_rounds=3)


def test_what_is_about_the_time_is_not_worth_a_sentence() -> None:
    assert overtime_note(90, 75) == overtime_note(24, 15) == overtime_note(5, 60) == ""
    assert overtime_note(26, 15) == (
        "a certified table needs about 26 s here, and 15 s were asked for: going on, for at most 5 min."
    )
    assert overtime_note(130, 100).endswith("for at most 7 min.")
    assert "--prior" in overtime_note(900, 75, bounded=False)


def test_what_is_far_beyond_the_time_names_the_time_to_ask_for() -> None:
    refuse_overtime(most_s(15), 15)
    assert (most_s(15), most_s(75), most_s(600)) == (315, 375, 2400)
    words = r"needs about 42 min here, and 15 s were asked for: ask for --time 47min, or for a smaller"
    with pytest.raises(MeasurementError, match=words):
        refuse_overtime(2518, 15)


def bench(space: Space, asked_s: float, seen: list[ProfilingProgress], backend: str = "fake") -> Bench:
    runtime = FakeBackend()
    runtime.name = backend
    return Bench(
        space, runtime, RunSettings(), 1, "here", QUICK, time.monotonic() + asked_s, seen.append, print,
        asked_s=asked_s,
    )  # fmt: skip


def test_it_is_said_once_and_only_where_a_time_was_asked_for(tiny: Space) -> None:
    seen = list[ProfilingProgress]()
    one = bench(tiny, 15.0, seen)
    one.keep_time(14.0)
    assert not seen
    one.keep_time(60.0)
    one.keep_time(70.0)
    assert [progress.note[:36] for progress in seen] == ["a certified table needs about 60 s h"]
    with pytest.raises(MeasurementError, match="about 42 min here"):
        one.keep_time(2518.0)
    bench(tiny, 0.0, seen).keep_time(1e6)
    bench(tiny, 15.0, seen, "tensorrt").keep_time(1e5)
    assert len(seen) == 2, "a runtime that searches kernels is slow, and is told so"


def test_a_profile_that_cannot_end_in_time_stops_before_it_measures(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[ProfilingProgress]()
    monkeypatch.setattr(profiles, "round_s", lambda *given: 840.0)
    with pytest.raises(MeasurementError, match=r"about 42 min here, and 15 s were asked for: ask for --time"):
        profile(tiny, FakeBackend(), plan=QUICK, time_budget_s=15.0, on_progress=seen.append)
    assert not [one for one in seen if one.stage == "measure"]
    monkeypatch.setattr(profiles, "round_s", lambda *given: 20.0)
    profile(tiny, FakeBackend(), plan=QUICK, time_budget_s=15.0, on_progress=seen.append)
    (note,) = {one.note for one in seen if one.note}
    assert "for at most 5 min" in note
