"""Timing an engine on a GPU: it is warm before anything counts, and watched in the process that times."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain, count, repeat
from pathlib import Path

import pytest

from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.fake import FakeBackend
from ponas_deploy.engines import timing
from ponas_deploy.engines.timing import time_engine
from ponas_deploy.machines.devfreq import GpuClock
from ponas_deploy.machines.nvidia import GpuReading
from ponas_deploy.measuring import engine_process
from ponas_deploy.measuring.contention import CoreReading
from ponas_deploy.measuring.engine_process import GpuTaken, Taken, Timed, single_runs
from ponas_deploy.measuring.place import HERE
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.trial import middle
from searchspace.space import Space

CARD = GpuReading("NVIDIA H200", "580.1", 1980, 3201, 300.0, 60, (), (9, 0))

ALONE = Plan(redone_pct=100, most_others_pct=1e9, most_stolen_pct=1e9, most_quota_pct=1e9)
"""Nothing takes any time here, in which one tick of the system's clock is all there is."""


class OnGpu(FakeBackend):
    """Arithmetic that runs on a GPU whose clock climbs."""

    def __init__(self, *clocks_mhz: int) -> None:
        super().__init__()
        self.looks, self._clocks = 0, chain(clocks_mhz, repeat(clocks_mhz[-1]))

    def reading(self) -> GpuReading:
        self.looks += 1
        return replace(CARD, sm_clock_mhz=next(self._clocks))


@pytest.fixture
def timed(tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Timed:
    monkeypatch.setattr(engine_process, "WARM_UP_S", 0.001)
    engine = FakeBackend().save(network_bytes(middle(tiny), 1), RunSettings(), tmp_path)[0]
    return Timed(engine, "fake", RunSettings(), 0.001)


def test_a_gpu_is_warm_when_two_looks_agree_on_its_clock(
    timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = OnGpu(345, 1200, 1935, 1980, 1980)
    monkeypatch.setattr(engine_process, "get_backend", lambda name: backend)
    clock = GpuClock(306, 306, 1020, "nvhost_podgov", ((306, 5.0), (1020, 7.0)))
    monkeypatch.setattr(engine_process, "read_gpu_clock", lambda: clock)
    taken = engine_process._take(timed)
    assert backend.looks == 6, "five to see the same clock twice, and one at the end"
    assert taken.gpu == GpuTaken(CARD, clock, clock)
    assert Taken.of(json.loads(json.dumps(taken.document()))) == taken


def test_a_clock_that_never_settles_is_not_waited_for_longer(
    timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    climbing, looks = count(100.0, 100.0), []

    def clock_mhz() -> float:
        looks.append(next(climbing) * 2 ** len(looks))
        return looks[-1]

    monkeypatch.setattr(engine_process, "CLOCK_WARM_UP_S", 0.02)
    with FakeBackend().open(timed.engine, timed.settings) as session:
        assert single_runs(session, 0.001, clock_mhz=clock_mhz)
    assert len(looks) > 2


def test_a_process_whose_gpu_was_slower_or_throttled_is_taken_again(
    timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a round of a profile is: a promise rests on these."""
    seen = iter(
        (
            CARD,
            replace(CARD, sm_clock_mhz=1200),
            CARD,
            replace(CARD, throttle=("thermal slowdown",)),
            CARD,
        )
    )

    def take(timed: Timed) -> tuple[Taken, None]:
        return Taken((5, 5), CoreReading(), gpu=GpuTaken(next(seen))), None

    monkeypatch.setattr(HERE, "take", take)
    monkeypatch.setattr(timing, "RETRIES", replace(RETRIES, process_pause_s=0.0))
    monkeypatch.setattr(timing, "PLAN", ALONE)
    found = time_engine(timed.engine, "fake", RunSettings())
    assert [(one.discarded, one.wrong) for one in found.interference] == [
        (False, ""),
        (True, "the GPU's clock fell from 1980 to 1200 MHz"),
        (False, ""),
        (True, "throttled (GPU thermal slowdown)"),
        (False, ""),
    ]
    assert [one.gpu_clock_mhz for one in found.interference] == [1980, 1200, 1980, 1980, 1980]


def test_a_governor_that_clocks_a_process_lower_is_seen_by_the_mean_around_its_inferences(
    timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def process(slow_ms: float, fast_ms: float) -> GpuTaken:
        before, after = (
            GpuClock(306, 306, 1020, "nvhost_podgov", ((306, slow), (1020, fast)))
            for slow, fast in ((50.0, 50.0), (50.0 + slow_ms, 50.0 + fast_ms))
        )
        return GpuTaken(replace(CARD, sm_clock_mhz=306), before, after)

    script = iter((process(0, 600), process(500, 100), process(0, 600), process(0, 600)))
    monkeypatch.setattr(HERE, "take", lambda timed: (Taken((5, 5), CoreReading(), gpu=next(script)), None))
    monkeypatch.setattr(timing, "RETRIES", replace(RETRIES, process_pause_s=0.0))
    monkeypatch.setattr(timing, "PLAN", ALONE)
    found = time_engine(timed.engine, "fake", RunSettings())
    assert [one.wrong for one in found.interference] == [
        "", "the GPU's clock fell from 1020 to 425 MHz", "", ""
    ]  # fmt: skip
