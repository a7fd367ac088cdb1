"""The contention probe: what counts as shared, waiting, moving, and what comes of it in a measurement."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import pytest

from ponas_deploy.backends import RunSettings
from ponas_deploy.engines import timing
from ponas_deploy.engines.manifest import EngineFigures
from ponas_deploy.engines.timing import time_engine
from ponas_deploy.measuring import contention, engine_process
from ponas_deploy.measuring.contention import Arithmetic, ContentionProbe, CoreReading, core_kinds, probe_for
from ponas_deploy.measuring.engine_process import LEAST_RUNS, Taken, Timed, single_runs
from ponas_deploy.measuring.interference import (
    Interference,
    Round,
    Snapshot,
    between,
    take_snapshot,
    usual_core_ns,
)
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.measuring.protocol import Plan, Samples, measure
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.remote.place import BoardPlace

USUAL, SHARED = 100.0, 190.0
QUIET = [USUAL] * 40
"""What is seen before the first probe."""


class Steady:
    """A session that always takes the same time, and counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    def time_ns(self, runs: int) -> int:
        self.runs += runs
        time.sleep(0.0001)
        return 1_000_000 * runs


def times(*then: float, last: float = USUAL) -> Callable[[], float]:
    script: Iterator[float] = chain(QUIET, then, repeat(last))
    return lambda: next(script)


def test_the_arithmetic_repeats_and_a_core_that_takes_twice_as_long_is_shared() -> None:
    arithmetic = Arithmetic()
    fastest, second = sorted(arithmetic() for _ in range(200))[:2]
    assert 0 < fastest <= second < 1.25 * fastest
    probe = ContentionProbe(arithmetic=times(USUAL * 1.2, SHARED))
    assert [probe.is_quiet() for _ in range(3)] == [True, False, True]


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nowhere to move."""
    monkeypatch.setattr(contention, "_cores_to_move_to", lambda: deque([0]))


def test_what_is_known_already_shows_a_machine_that_is_shared_from_the_start() -> None:
    always = times(last=USUAL)
    assert ContentionProbe(arithmetic=always).is_quiet()
    assert not ContentionProbe(USUAL / 2, arithmetic=always).is_quiet()


def test_a_sample_that_was_shared_before_or_after_is_taken_again_without_the_first_after_a_pause(
    one_core: None,
) -> None:
    probe, values = ContentionProbe(arithmetic=times(USUAL, SHARED, SHARED)), iter(range(9))
    assert probe.take_quiet(lambda: next(values)) == (2, True), "0 was shared after it, 1 after a pause"
    assert probe.reading() == CoreReading(USUAL, 1, 1, 0)
    assert probe.take_quiet(lambda: next(values)) == (3, True)
    assert probe.reading() == CoreReading(USUAL, 2, 1, 0)


def test_waiting_ends_and_contended_samples_are_counted(one_core: None) -> None:
    probe, start = ContentionProbe(arithmetic=times(last=SHARED)), time.monotonic()
    taken = [probe.take_quiet(lambda: 7) for _ in range(20)]
    assert taken == [(7, False)] * 20
    assert time.monotonic() - start < 3
    assert probe.reading() == CoreReading(USUAL, 20, 20, 20)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux moves threads")
def test_what_runs_in_one_thread_moves_to_a_core_that_nobody_shares() -> None:
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("there is no other core")
    quiet, before = max(allowed), iter(QUIET)

    def arithmetic() -> float:
        return next(before, USUAL if os.sched_getaffinity(0) == {quiet} or moved else SHARED)

    moved: list[float] = []
    probe = ContentionProbe(arithmetic=arithmetic)
    value, is_quiet = probe.take_quiet(lambda: moved.append(1.0))
    assert (value, is_quiet) == (None, True)
    assert os.sched_getaffinity(0) == allowed, "it may run anywhere again"
    assert probe.reading().shared == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux moves threads")
def test_where_all_cores_are_timed_all_are_probed() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("there is no other core")
    shared, before = {allowed[-1]}, iter(QUIET)

    def arithmetic() -> float:
        return next(before, SHARED if os.sched_getaffinity(0) == shared else USUAL)

    probe = ContentionProbe(threads=len(allowed), arithmetic=arithmetic)
    assert not probe.is_quiet()
    assert sorted(os.sched_getaffinity(0)) == allowed
    shared.clear()
    assert probe.is_quiet()


def test_where_a_thread_may_not_choose_its_core_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(process: int, cores: set[int]) -> None:
        raise PermissionError("not here")

    monkeypatch.setattr(os, "sched_setaffinity", refused, raising=False)
    assert ContentionProbe(arithmetic=times(SHARED)).take_quiet(lambda: 7) == (7, True)
    monkeypatch.delattr(os, "sched_setaffinity")
    assert ContentionProbe(threads=64, arithmetic=times(SHARED)).take_quiet(lambda: 7) == (7, True)


def test_only_what_runs_on_the_processor_is_probed() -> None:
    assert probe_for("onnxruntime", 1) is not None
    assert probe_for("onnxruntime-cuda", 1) is None


def test_inferences_while_the_core_was_shared_do_not_count_unless_there_are_too_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_process, "WARM_UP_S", 0.0)
    session = Steady()

    class Alternating(ContentionProbe):
        def take_quiet(self, take: Callable[[], int]) -> tuple[int, bool]:  # type: ignore[override]
            value = take()
            return (value, True) if session.runs % 4 else (3 * value, False)

    runs = single_runs(session, 0.1, Alternating())  # type: ignore[arg-type]
    assert len(runs) >= LEAST_RUNS
    assert set(runs) == {1_000_000}
    few = single_runs(session, 0.0, Alternating())  # type: ignore[arg-type]
    assert set(few) == {1_000_000, 3_000_000}


class FromScript(BoardPlace):
    """A board whose processes are scripted; it knows its counters, and nothing of the core."""

    def __init__(self, take: Callable[[Timed], Taken]) -> None:
        super().__init__("box", None, lambda: pytest.fail("it is asked"), lambda: None)  # type: ignore[arg-type]
        self.take_there = take

    def take(self, timed: Timed) -> tuple[Taken, tuple[Snapshot, Snapshot] | None]:
        return self.take_there(timed), (take_snapshot(), take_snapshot())


def scripted(where: str, take: Callable[[Timed], Taken], monkeypatch: pytest.MonkeyPatch) -> Place:
    """This machine or a board, whose processes are scripted."""
    if where == "board":
        return FromScript(take)
    monkeypatch.setattr(HERE, "take", lambda timed: (take(timed), None))
    return HERE


@pytest.mark.parametrize("where", ["here", "board"])
def test_a_process_whose_core_was_shared_is_taken_again(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first takes a shared core for usual, the third is contended still when its time is over."""
    seen: list[float] = []
    script = iter(
        [
            Taken((9, 9), CoreReading(SHARED, 2, 0, 0)),
            Taken((5, 5), CoreReading(USUAL, 2, 1, 0)),
            Taken((8, 8), CoreReading(USUAL, 2, 2, 2)),
            *repeat(Taken((6, 6), CoreReading(USUAL, 2, 0, 0)), 2),
        ]
    )

    def process(timed: Timed) -> Taken:
        seen.append(timed.core_ns)
        return next(script)

    place = scripted(where, process, monkeypatch)
    monkeypatch.setattr(timing, "RETRIES", replace(RETRIES, process_pause_s=0.0))
    monkeypatch.setattr(timing, "PLAN", Plan(redone_pct=50, most_others_pct=100, most_stolen_pct=100))
    found = time_engine(Path("engine"), "onnxruntime", RunSettings(), place=place)
    assert found.processes_ns == ((5, 5), (6, 6), (6, 6))
    assert seen == [0.0, SHARED, USUAL, USUAL, USUAL]
    assert (len(found.started_s), found.core_ns) == (3, USUAL)
    assert [one.discarded for one in found.interference] == [True, False, True, False, False]
    assert "something shared or slowed the core during 100 % of the samples" in found.interference[2].wrong
    assert found.shared_pct == 30.0
    assert EngineFigures.of(found).shared_pct == found.shared_pct


@pytest.mark.parametrize("where", ["here", "board"])
@pytest.mark.parametrize(
    ("contended", "kept"),
    [
        ((True, False, False), (2, 3)),
        ((True, True, False), (3,)),
        ((True, True, True), (1, 2, 3)),
    ],
)
def test_when_the_time_is_over_quiet_processes_count_and_else_all(
    contended: tuple[bool, ...], kept: tuple[int, ...], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the plan nor the time lets any be taken again."""
    script = iter(
        Taken((number, number), CoreReading(USUAL, 2, 2 * bad, 2 * bad))
        for number, bad in enumerate(contended, start=1)
    )
    place = scripted(where, lambda timed: next(script), monkeypatch)
    monkeypatch.setattr(timing, "PLAN", Plan(redone_pct=0, most_others_pct=100, most_stolen_pct=100))
    found = time_engine(Path("engine"), "onnxruntime", RunSettings(), place=place)
    assert found.processes_ns == tuple((number, number) for number in kept)
    assert bool(found.disturbed_on("")) == all(contended)
    assert [place + 1 for place, one in enumerate(found.interference) if not one.discarded] == list(kept)


def test_cores_of_several_kinds_are_not_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert core_kinds(tmp_path) == 1.0
    for number, capacity in enumerate(("1024", "1024", "430")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{number}"
        folder.mkdir(parents=True)
        (folder / "cpu_capacity").write_text(f"{capacity}\n")
    assert core_kinds(tmp_path) == pytest.approx(1024 / 430)
    monkeypatch.setattr(contention, "core_kinds", lambda: 2.0)
    assert probe_for("onnxruntime", 1) is None


def test_a_round_says_how_often_the_core_was_shared() -> None:
    before = replace(take_snapshot(), core=CoreReading(USUAL, 10, 5, 1))
    after = replace(take_snapshot(), core=CoreReading(USUAL, 110, 30, 11))
    found = between(1, before, after)
    assert (found.core_ns, found.shared_pct, found.contended_pct) == (USUAL, 25.0, 10.0)
    assert usual_core_ns([Round(0), found, Round(2, core_ns=120.0)]) == USUAL
    assert usual_core_ns([Round(0)]) == 0.0


def test_rounds_wait_for_the_core_until_the_deadline_and_no_longer(one_core: None) -> None:
    probe, samples = ContentionProbe(arithmetic=times(SHARED)), Samples()
    sessions = {key: Steady() for key in "ab"}
    plan = Plan(min_rounds=3, max_rounds=3, floor_rounds=1, sentinel_visits=100)
    interference = Interference(plan, lambda: take_snapshot(core=probe.reading))

    def run(deadline: float) -> int:
        measure(
            sessions,  # type: ignore[arg-type]
            {"a": 1, "b": 1},
            samples,
            plan,
            seed=0,
            sentinel="a",
            deadline=deadline,
            interference=interference,
            probe=probe,
        )
        return probe.reading().kept

    kept = run(time.monotonic() + 60)
    assert kept >= 6
    assert interference.rounds[-1].core_ns == USUAL
    samples.rounds.clear()
    assert run(time.monotonic() - 1) - kept <= 3, "the sentinel's first samples"
