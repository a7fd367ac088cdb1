"""A profile over a link: its table is that of the board, and whatever ends on the way, the journal goes on.

The board is a process of this machine, and its runtime the device that is arithmetic (`backends.fake`), so
that what comes out can be told to the last digit.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from local_board import Place, becomes
from profiling_host import REFUSED, profiling

from conftest import children, tiny_space
from faulty_worker import quick_request, samples
from ponas_deploy.backends import RunSettings
from ponas_deploy.boards.book import Board, Entry
from ponas_deploy.boards.link import BoardError, Link, LinkLostError
from ponas_deploy.errors import MeasurementError
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling.on_board import profile_on_board
from ponas_deploy.profiling.progress import ProfilingProgress
from ponas_deploy.profiling.worker import Request, make
from ponas_deploy.remote.answers import BoardBusyError
from ponas_deploy.remote.job import Job
from ponas_deploy.remote.place import BoardPlace, place_on
from ponas_deploy.remote.rounds import Models
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.latency import LatencyTable
from searchspace import SPACES, Space

BOX = Entry("box", Board(command=(), python=sys.executable))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The board's folder; at the end nothing runs there, and nobody holds its lock."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    place = Place(tmp_path / ".cache" / "ponas")
    yield place
    assert becomes(place.is_free)
    assert becomes(lambda: not place.processes()), place.processes()


def request_for(space: Space, folder: Path, device: str = "box", rounds: int = 3) -> Request:
    """A short profile with the device that is arithmetic; no round of it is taken again."""
    folder.mkdir(exist_ok=True)
    quick = quick_request(space, folder)
    conditions = replace(quick.conditions, device=device, backend="fake")
    plan = replace(quick.plan, min_rounds=rounds, floor_rounds=rounds, max_rounds=rounds)
    return replace(quick, conditions=conditions, plan=plan)


def profiled(entry: Entry, request: Request, reports: list[ProfilingProgress]) -> LatencyTable:
    with place_on(entry, "test") as there:
        profile_on_board(request, there, reports.append)
    return load_latency_table(request.table)


def test_it_makes_the_table_of_a_profile_here_in_the_environment_of_the_board(
    tiny: Space, tmp_path: Path
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("a board with fewer cores than this machine needs two here")
    core = str(min(os.sched_getaffinity(0)))
    smaller = Entry("box", Board(command=("taskset", "-c", core), python=sys.executable))
    here, reports = request_for(tiny, tmp_path / "here"), list[ProfilingProgress]()
    make(here, lambda step: None, lambda progress: None)
    local, there = (
        load_latency_table(here.table),
        profiled(smaller, request_for(tiny, tmp_path / "there"), reports),
    )
    assert (there.grid, there.correction, there.certificate) == (
        local.grid,
        local.correction,
        local.certificate,
    )
    assert dict(there.measurements) == dict(local.measurements)
    assert there.conditions == local.conditions
    assert (there.protocol.plan, there.protocol.rounds) == (local.protocol.plan, local.protocol.rounds)
    assert there.protocol.at_start.keys() == local.protocol.at_start.keys()
    assert len(there.rounds) == len(local.rounds)
    ours, theirs = dict(local.environment), dict(there.environment)
    assert theirs.keys() == ours.keys()
    assert {name for name in ours if ours[name] != theirs[name]} == {"cores"}
    assert theirs["cores"] == "1"
    assert {report.stage for report in reports} == {"build", "measure", "fit"}


def test_a_round_is_one_step_and_few_messages(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, messages = Counter[str](), Counter[str]()
    do, send = Job.do, Link._send

    def counted(job: Job, name: str, *on_line: Any, **details: Any) -> Any:
        steps[name] += 1
        before = messages["all"]
        found = do(job, name, *on_line, **details)
        messages[name] += messages["all"] - before
        return found

    def sent(link: Link, data: bytes) -> None:
        messages["all"] += 1
        send(link, data)

    monkeypatch.setattr(Job, "do", counted)
    monkeypatch.setattr(Link, "_send", sent)
    profiled(BOX, request_for(tiny, tmp_path / "there", rounds=20), [])
    assert steps["round"] == 20
    assert messages["round"] == 20


def test_a_journal_of_other_gpu_clocks_of_the_board_is_set_aside(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, notes = replace(request_for(tiny, tmp_path / "out"), overwrite=True), list[str]()
    for clocks in ("306-1020 MHz", "306-1020 MHz", "1020 MHz"):
        now = (("gpu_clocks", clocks),)
        monkeypatch.setattr(BoardPlace, "conditions", lambda place, now=now: now)
        table = profiled(BOX, request, [])
        assert table.protocol.at_start == dict(now)
        notes.append(table.protocol.journal)
    assert notes[0] == ""
    assert notes[1].startswith("continuing")
    assert "(clocks gpu_clocks 306-1020 MHz there, 1020 MHz here)" in notes[2]


# --- whatever ends on the way


def asked_rounds(asked: Path) -> list[tuple[int, frozenset[str]]]:
    """Number and keys of every round that was asked for."""
    lines = map(json.loads, asked.read_text(encoding="utf-8").splitlines())
    return [(line["number"], frozenset(line["order"])) for line in lines]


def went_on(request: Request, asked: Path) -> None:
    """Every sample is in the journal once, and only a round in flight was asked for twice."""
    found = samples(request.journal)
    assert len(found) == len(set(found))
    before, in_flight = set[tuple[str, int]](), set[tuple[str, int]]()
    for number, keys in asked_rounds(asked):
        pairs = {(key, number) for key in keys}
        assert pairs & before <= in_flight
        before |= pairs
        in_flight = pairs
    assert set(found) <= before
    assert before - set(found) <= in_flight, "a round was given up for good"
    assert not list(request.journal.parent.glob("*.old-*")), "the journal was set aside"


def link_of(process: psutil.Process) -> psutil.Process | None:
    """What carries the connection of a profile."""
    children = process.children()
    return children[0] if children else None


def endless(space: Space, folder: Path) -> Request:
    """A profile that ends with its time, and not before."""
    request = request_for(space, folder)
    return replace(request, seconds=600.0, plan=replace(request.plan, min_rounds=100_000, max_rounds=100_000))


def measuring(request: Request) -> bool:
    """Whether it has samples."""
    return request.journal.exists() and len(samples(request.journal)) > 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_profile_that_is_interrupted_goes_on(
    tiny: Space, tmp_path: Path, place: Place, number: signal.Signals
) -> None:
    request, asked = endless(tiny, tmp_path / "out"), tmp_path / "asked"
    with profiling(BOX, request, asked) as process:
        assert becomes(lambda: measuring(request), 60)
        with pytest.raises(BoardBusyError, match=r"has been measuring there for \d+ s \(test, job"):  # noqa: SIM117
            with place_on(BOX, "another"):
                pass
        process.send_signal(number)
        assert process.wait(60) == {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143}[number]
    assert place.is_free()
    assert place.jobs() == []
    kept = samples(request.journal)
    table = profiled(BOX, replace(request, seconds=0.0), [])
    assert samples(request.journal)[: len(kept)] == kept
    assert table.certificate is not None


def strike(what: str, host: subprocess.Popen[bytes], place: Place) -> None:
    """End one of those who take part."""
    with suppress(psutil.NoSuchProcess, FileNotFoundError, ValueError):
        if what == "worker" and place.worker > 1 and not place.is_free():
            psutil.Process(place.worker).kill()
        elif what == "link" and (link := link_of(psutil.Process(host.pid))):
            link.kill()
        elif what == "host":
            host.kill()


def test_a_worker_that_is_killed_while_it_measures_is_told_so(
    tiny: Space, tmp_path: Path, place: Place
) -> None:
    request, killed = request_for(tiny, tmp_path / "out"), list[int]()

    def kill(progress: ProfilingProgress) -> None:
        if progress.stage == "measure" and not killed:
            killed.append(place.worker)
            os.kill(place.worker, signal.SIGKILL)

    with place_on(BOX, "test") as there:
        profile_on_board(request, there, kill)
        assert len(place.jobs()) == 1, "the job of the worker that is gone was kept"
        assert len(children()) == 1, "its connection was kept"
    because = load_latency_table(request.table).protocol.restarted_because
    assert because.startswith("was killed by signal 9, SIGKILL while ")
    assert "round" in because, "what it did last is hidden"


def test_a_board_that_cannot_start_again_is_told_with_what_was_kept(
    tiny: Space, tmp_path: Path, place: Place
) -> None:
    def gone() -> Job:
        raise LinkLostError("box", "no route.")

    def kill(progress: ProfilingProgress) -> None:
        if progress.stage == "measure":
            there.begin = gone
            os.kill(place.worker, signal.SIGKILL)

    with (
        place_on(BOX, "test") as there,
        pytest.raises(BoardError, match=r"^box: no route\. What was measured is kept in .*journal"),
    ):
        profile_on_board(request_for(tiny, tmp_path / "out"), there, kill)


def test_builds_of_a_profile_that_is_refused_are_not_waited_for(
    tiny: Space, tmp_path: Path, place: Place
) -> None:
    def refuse(progress: ProfilingProgress) -> None:
        if progress.stage == "build" and progress.done > 2:
            raise MeasurementError("it takes too long.")

    with place_on(BOX, "test") as there:
        before = there.job.id
        with pytest.raises(MeasurementError, match="too long"):
            profile_on_board(request_for(tiny, tmp_path / "out"), there, refuse)
        assert place.jobs() == []
        assert place.is_free()
        assert there.about().cores > 0
        assert place.jobs() == [there.job.id] != [before]


def test_what_was_open_when_a_build_failed_ends_before_the_next_step(
    model: bytes, tmp_path: Path, place: Place
) -> None:
    def refuse(key: str, seconds: float) -> None:
        raise MeasurementError("it takes too long.")

    with place_on(BOX, "test") as there:
        before, models = there.job.id, Models(there, "fake", RunSettings(), Plan())
        with (
            pytest.raises(MeasurementError, match="too long"),
            there.to_oneself(tmp_path / "lock", "recheck"),
        ):
            models.build(dict.fromkeys("ab", lambda: model), refuse, lambda now: None, one_at_a_time=True)
        assert place.jobs() == []
        assert there.about().cores > 0
        assert place.jobs() == [there.job.id] != [before]


def struck(
    entry: Entry, request: Request, asked: Path, place: Place, strikes: list[str], rng: random.Random
) -> None:
    """Profile, and end one after the other at random moments; who ends is started again."""
    waiting = list(reversed(strikes))
    while waiting:
        with profiling(entry, request, asked) as process:
            while waiting and process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0, 4))
                strike(waiting.pop(), process, place)
            if waiting:
                assert process.wait(60) in (REFUSED, -signal.SIGKILL), asked.with_suffix(".log").read_text()


def test_kills_and_dropped_links_lose_and_double_no_sample(tiny: Space, tmp_path: Path, place: Place) -> None:
    request, asked, rng = endless(tiny, tmp_path / "out"), tmp_path / "asked", random.Random(7)
    strikes = ["link"] * 5 + ["worker"] * 10 + ["host"] * 10
    random.Random(11).shuffle(strikes)
    struck(BOX, request, asked, place, strikes, rng)
    with profiling(BOX, replace(request, seconds=0.0), asked) as process:
        assert process.wait(120) == 0, asked.with_suffix(".log").read_text()
    table = load_latency_table(request.table)
    calm = profiled(BOX, request_for(tiny, tmp_path / "calm"), [])
    assert {key: set(one.rounds_ns) for key, one in table.measurements} == {
        key: set(one.rounds_ns) for key, one in calm.measurements
    }
    assert table.certificate is not None
    went_on(request, asked)
