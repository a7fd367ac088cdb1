"""What the interference of a round is, and when the round is taken again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ponas_deploy.files.documents import compact, converted
from ponas_deploy.machines.conditions import Reading
from ponas_deploy.machines.counters import Counters
from ponas_deploy.machines.devfreq import GpuClock
from ponas_deploy.machines.nvidia import GpuReading
from ponas_deploy.measuring.interference import (
    Interference,
    Round,
    Snapshot,
    between,
    complaints,
    take_snapshot,
)
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.tables.rounds import Spread

START = Snapshot(Counters(at_s=100.0, cores=2, busy_s=50.0, own_s=7.0), Reading(), GpuReading())
PLAN = Plan()


def later(seconds: float = 10.0, own_s: float = 9.0, others_s: float = 0.0, **counted: float) -> Counters:
    before = START.counters
    return replace(
        before,
        at_s=before.at_s + seconds,
        own_s=before.own_s + own_s,
        busy_s=before.busy_s + own_s + others_s,
        **counted,  # type: ignore[arg-type]
    )


def after(counters: Counters, reading: Reading | None = None, gpu: GpuReading | None = None) -> Snapshot:
    return Snapshot(counters, reading or Reading(), gpu or GpuReading())


def test_what_this_process_does_itself_is_nobody_elses() -> None:
    assert between(3, START, after(later())) == Round(3)


@pytest.mark.parametrize(
    ("counters", "found", "words"),
    [
        (later(others_s=8.04), {"others_pct": 40.0}, "other processes used 40 % of the cores"),
        (later(stolen_s=2.04), {"stolen_pct": 10.0}, "the hypervisor took 10 % of the cores"),
        (later(quota_s=0.5), {"quota_pct": 5.0}, "the container's quota held it up for 5 % of the time"),
        (later(asleep_s=3.0), {"asleep_s": 3.0}, "the machine slept for 3.0 s"),
        (later(hot=1), {"held": ("heat",)}, "throttled (heat)"),
    ],
)
def test_what_was_counted_during_a_round(counters: Counters, found: dict[str, object], words: str) -> None:
    seen = between(0, START, after(counters))
    assert seen == Round(0, **found)  # type: ignore[arg-type]
    assert complaints(seen, (), PLAN) == words


def test_a_little_is_no_reason() -> None:
    little = between(0, START, after(later(others_s=3.0, stolen_s=0.5, quota_s=0.1, asleep_s=0.05)))
    assert (little.others_pct, little.stolen_pct, little.quota_pct) == (14.8, 2.3, 1.0)
    assert complaints(little, (), PLAN) == ""


def test_ticks_of_the_counters_are_nobodys_work() -> None:
    """A round of 20 ms cannot be seen from ticks of 10 ms on each core."""
    seen = between(0, START, after(later(seconds=0.02, own_s=0.0, others_s=0.04, stolen_s=0.04)))
    assert (seen.others_pct, seen.stolen_pct) == (0.0, 0.0)


def test_clocks_that_fall_below_the_highest_seen() -> None:
    rounds = [Round(number, clock_mhz=mhz) for number, mhz in enumerate((3400.0, 3600.0, None))]
    assert complaints(Round(3, clock_mhz=3000.0), rounds, PLAN) == ""
    assert complaints(Round(3, clock_mhz=2100.0), rounds, PLAN) == "the clock fell from 3600 to 2100 MHz"
    gpu = [Round(0, gpu_clock_mhz=1980)]
    assert complaints(Round(1, gpu_clock_mhz=1200), gpu, PLAN) == "the GPU's clock fell from 1980 to 1200 MHz"


@pytest.mark.parametrize("what", ["governor", "affinity", "power_mode", "gpu_clocks"])
def test_what_was_set_and_changes_is_wrong(what: str) -> None:
    before = [Round(0), Round(1, **{what: "a"})]
    assert complaints(Round(2, **{what: "a"}), before, PLAN) == ""
    words = f"the {what.replace('_', ' ')} changed from a to b"
    assert complaints(Round(2, **{what: "b"}), before, PLAN) == words
    assert complaints(Round(0, **{what: "b"}), (), PLAN) == "", "the first one may be anything"


def test_what_the_machine_was_set_to_is_kept_round_by_round() -> None:
    snapshot = replace(
        after(later(), Reading(load=1.234, governor="powersave", affinity="0-1")), power_mode="15W"
    )
    seen = between(0, START, snapshot)
    assert (seen.load, seen.governor, seen.affinity, seen.power_mode) == (1.23, "powersave", "0-1", "15W")


def test_a_gpus_own_figures_are_taken_and_clocks_that_somebody_asked_for_are_no_fault() -> None:
    hot = GpuReading(
        "H200", sm_clock_mhz=1200, temperature_c=91, throttle=("application clocks", "power cap")
    )
    seen = between(0, START, after(later(), Reading(temperature_c=40.0), hot))
    assert (seen.gpu_clock_mhz, seen.temperature_c, seen.held) == (1200, 91, ("GPU power cap",))
    assert complaints(seen, (), PLAN) == "throttled (GPU power cap)"


def test_of_a_card_that_is_always_at_its_power_cap_the_clock_is_watched() -> None:
    """A T4, a laptop: every round would be taken again, and be like that again."""
    capped = Round(0, gpu_clock_mhz=1200, held=("GPU power cap",))
    assert complaints(capped, (), PLAN) == "throttled (GPU power cap)", "the first may be a moment's"
    usual = [replace(capped, number=number) for number in range(3)]
    assert complaints(replace(capped, number=3, gpu_clock_mhz=1150), usual, PLAN) == ""
    slower = replace(capped, number=3, gpu_clock_mhz=900)
    assert complaints(slower, usual, PLAN) == "the GPU's clock fell from 1200 to 900 MHz"
    hot = replace(capped, number=3, held=("GPU power cap", "GPU thermal slowdown"))
    assert complaints(hot, usual, PLAN) == "throttled (GPU thermal slowdown)"
    free = [*usual, *(Round(number, gpu_clock_mhz=1200) for number in range(3, 7))]
    assert complaints(capped, free, PLAN) == "throttled (GPU power cap)", "seldom so far"
    unknown = replace(capped, gpu_clock_mhz=None)
    assert complaints(unknown, usual, PLAN) == "throttled (GPU power cap)", "nothing else to watch"


def test_the_gpu_clock_that_the_kernel_governs() -> None:
    """It is recorded always, and must not fall where it is locked; what it may rise to must never change."""
    locked, slow = (GpuClock(now, 1020, 1020) for now in (1020, 612))
    rounds = [between(0, START, after(later(), Reading(gpu_clock=locked)))]
    assert (rounds[0].gpu_clock_mhz, rounds[0].gpu_clocks) == (1020, "1020 MHz")
    seen = between(1, START, after(later(), Reading(gpu_clock=slow)))
    assert complaints(seen, rounds, PLAN) == "the GPU's clock fell from 1020 to 612 MHz"
    rounds = [between(0, START, after(later(), Reading(gpu_clock=GpuClock(1020, 306, 1020))))]
    idle = between(1, START, after(later(), Reading(gpu_clock=GpuClock(306, 306, 1020))))
    assert (idle.gpu_clock_mhz, complaints(idle, rounds, PLAN)) == (306, "")
    capped = between(2, START, after(later(), Reading(gpu_clock=GpuClock(306, 306, 625))))
    wrong = "the gpu clocks changed from 306-1020 MHz to 306-625 MHz"
    assert complaints(capped, rounds, PLAN) == wrong


def test_a_round_whose_mean_clock_fell_is_taken_again_where_the_governor_may_choose() -> None:
    """The clock between two rounds says nothing there; the time at each clock during the round does."""

    def at(slow_ms: float, fast_ms: float, *, gpu: bool = True) -> Snapshot:
        clock = GpuClock(306, 306, 1020, "nvhost_podgov", ((306, slow_ms), (1020, fast_ms)))
        return after(later(), Reading(gpu_clock=clock), GpuReading("Orin" if gpu else ""))

    steady = between(0, at(0, 100), at(100, 1000))
    assert (steady.gpu_clock_mhz, steady.gpu_mean_clock_mhz) == (306, 948.6)
    assert complaints(between(1, at(100, 1000), at(210, 1900)), [steady], PLAN) == ""
    slower = between(1, at(100, 1000), at(700, 1400))
    assert complaints(slower, [steady], PLAN) == "the GPU's clock fell from 949 to 592 MHz"
    on_the_processor = between(1, at(100, 1000, gpu=False), at(700, 1400, gpu=False))
    assert on_the_processor.gpu_mean_clock_mhz is None


def test_the_heat_of_a_board_counts_where_its_gpu_tells_none() -> None:
    warm = after(later(), Reading(temperature_c=61.0), GpuReading("Orin (nvgpu)"))
    assert between(0, START, warm).temperature_c == 61.0


def test_what_held_a_board_back_during_a_round_counts_although_it_is_over() -> None:
    old = replace(START, reading=Reading(throttled_before=("under-voltage",)))
    both = Reading(throttled_before=("under-voltage", "throttled"))
    seen = between(0, old, after(later(), both))
    assert seen.held == ("throttled meanwhile",)
    assert between(0, replace(old, reading=both), after(later(), both)).held == ()
    now = replace(both, throttle=("throttled",))
    assert between(0, old, after(later(), now)).held == ("throttled",)


def test_a_round_survives_a_file() -> None:
    for one in (Round(0), Round(7, 31.5, clock_mhz=2596.0, held=("heat",), wrong="hot", discarded=True)):
        assert converted(json.loads(json.dumps(compact(one))), Round, Path("t.json")) == one
    assert compact(Round(0)) == {"number": 0}, "nothing to say takes no room"


def interference_of(others_s: list[float], plan: Plan = PLAN) -> tuple[Interference, list[bool]]:
    """One round after another, in each of which others worked for so many of 10 s on two cores."""

    def snapshots() -> Iterator[Snapshot]:
        now = START
        yield now
        for worked_s in others_s:
            yield now
            counted = now.counters
            now = after(replace(counted, at_s=counted.at_s + 10, busy_s=counted.busy_s + worked_s))
            yield now

    snapshot = snapshots()
    interference, again = Interference(plan, lambda: next(snapshot)), []
    for number in range(len(others_s)):
        interference.begin()
        again.append(interference.end(number, may_redo=True))
    return interference, again


def test_a_bad_round_is_taken_again_and_a_good_one_is_not() -> None:
    interference, again = interference_of([0, 15, 0, 0])
    assert again == [False, True, False, False]
    assert interference.summary().kept_rounds == 3
    assert interference.summary().wrong_rounds == 0
    assert interference.summary().discarded_rounds == 1
    assert not interference.summary().wrong_because


def test_a_machine_that_is_always_busy_is_not_waited_for_for_ever() -> None:
    interference, again = interference_of([15] * 40)
    assert again[:2] == [True, False], "the first round may be taken again at once"
    assert sum(again) == 2, "the second time was in vain too"
    said = interference.summary()
    assert (said.wrong_rounds, said.kept_rounds, said.discarded_rounds) == (38, 38, 2)
    assert said.wrong_because == "other processes used 75 % of the cores"
    assert said.others_pct == Spread(74.8, 74.8, 74.8)
    _, never = interference_of([15] * 40, replace(PLAN, redone_pct=0.0))
    assert not any(never)


def test_a_machine_that_is_busy_now_and_then_is_waited_for_within_bounds() -> None:
    interference, again = interference_of([15, 0] * 20)
    said = interference.summary()
    assert (said.wrong_rounds, said.kept_rounds, said.discarded_rounds) == (12, 32, 8), (
        "a quarter of those kept"
    )
    assert sum(again) == 8


def test_on_round_is_called_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Round] = []
    interference = Interference(PLAN, lambda: START, [Round(0, wrong="hot")])
    interference.on_round = seen.append
    interference.begin()
    assert not interference.end(1, may_redo=False)
    assert seen == [Round(1)]
    said = interference.summary()
    assert (said.wrong_rounds, said.kept_rounds) == (1, 2), "those from before count"


def test_rounds_go_on_where_they_were() -> None:
    before = interference_of([15, 0, 0, 15, 15, 0])[0]
    said = before.summary()
    assert Interference(PLAN, lambda: START, before.rounds).summary() == said
    assert (said.wrong_rounds, said.kept_rounds) == (2, 5)


def test_a_snapshot_of_this_machine() -> None:
    seen = between(0, take_snapshot(), take_snapshot())
    assert seen.others_pct == 0.0, "far too short to tell"
    assert seen.asleep_s == 0.0


def test_a_round_that_was_taken_again_stands_in_place_of_the_one_before() -> None:
    interference, _ = interference_of([0, 15, 0, 15], replace(PLAN, redone_pct=0.0))
    journaled = list(interference.rounds)
    interference.on_round = journaled.append
    assert (interference.disturbed.kept, interference.disturbed.most) == (4, False)
    interference._snapshot = lambda: START  # nothing happens any more
    interference.begin()
    interference.end_again(1)
    said = interference.summary()
    assert (said.kept_rounds, said.wrong_rounds, said.discarded_rounds) == (4, 1, 1)
    assert Interference(PLAN, lambda: START, journaled).rounds == interference.rounds, "a journal says it"
    assert [one.number for one in interference.disturbed.rounds] == [3]


def test_most_is_more_than_half() -> None:
    plan = replace(PLAN, redone_pct=0.0)
    assert interference_of([15, 15, 0], plan)[0].disturbed.most
    assert not interference_of([15, 15, 0, 0], plan)[0].disturbed.most
    assert not Interference(PLAN, lambda: START).disturbed.most


def test_a_gap_is_a_moment_in_which_nothing_disturbs(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = list[float]()
    monkeypatch.setattr("ponas_deploy.measuring.interference.time.sleep", slept.append)
    busy = iter([START, after(later(others_s=9.0)), START, after(later(others_s=9.0)), START, after(later())])
    interference = Interference(PLAN, lambda: START)
    interference._snapshot = lambda: next(busy)
    assert interference.wait_for_gap(1e9)
    assert len(slept) == 3
    interference._snapshot = iter([START, after(later(others_s=9.0))] * 9).__next__
    assert not interference.wait_for_gap(-1.0), "none came in time"
