"""Profiling in a process of its own: what is kept and reported when that fails, hangs or is stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from conftest import children
from faulty_worker import IMPATIENT, fault, quick_request, samples
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling import supervise
from ponas_deploy.profiling.models import blocks_of
from ponas_deploy.profiling.progress import ProfilingProgress
from ponas_deploy.profiling.supervise import Timeouts, profile_in_worker
from ponas_deploy.profiling.worker import STEP_BYTES, Request, Step
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.latency import LatencyTable
from searchspace import Space

pytest.importorskip("onnxruntime")
TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture
def quick(tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    monkeypatch.setattr(supervise, "MODULE", "faulty_worker")
    return quick_request(tiny, tmp_path)


def block(space: Space) -> str:
    return list(blocks_of(space))[5]


def finished(request: Request) -> LatencyTable:
    """What the same request comes to without a fault; nothing that the journal holds is measured again."""
    profile_in_worker(request)
    found = samples(request.journal)
    assert len(found) == len(set(found))
    return load_latency_table(request.table)


def test_the_table_and_the_way_to_it_are_those_of_a_profile_in_this_process(quick: Request) -> None:
    reports: list[ProfilingProgress] = []
    profile_in_worker(quick, reports.append)
    table = load_latency_table(quick.table)
    assert (table.conditions, table.space) == (quick.conditions, quick.space)
    assert table.certificate is not None
    assert {progress.stage for progress in reports} == {"build", "measure", "fit"}
    assert (reports[-1].stage, reports[-1].done) == ("fit", 1)
    assert not table.protocol.restarted_because
    assert {key for key, _ in samples(quick.journal)} >= {key for key, _ in table.measurements}


def test_more_time_adds_rounds_even_when_it_is_interrupted(
    quick: Request, tiny: Space, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = replace(quick.plan, min_rounds=6, max_rounds=6)
    profile_in_worker(replace(quick, plan=plan))
    quick.journal.unlink()
    before = dict(load_latency_table(quick.table).measurements)
    assert {len(measurement.rounds_ns) for measurement in before.values()} == {3}
    more = replace(quick, plan=plan, seconds=100.0, further=True)
    monkeypatch.setenv("FAULT", fault("kill", block(tiny), after=150, once=tmp_path / "once"))
    profile_in_worker(more)
    assert (tmp_path / "once").exists()
    table = load_latency_table(quick.table)
    for key, measurement in table.measurements:
        assert measurement.rounds_ns[:3] == before[key].rounds_ns
        assert len(measurement.rounds_ns) == 6


@pytest.mark.parametrize("after", [0, 60])
def test_a_process_that_fails_once_is_started_again(
    quick: Request, tiny: Space, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", fault("crash", block(tiny), after=after, once=tmp_path / "once"))
    reports: list[ProfilingProgress] = []
    profile_in_worker(quick, reports.append)
    doing = "running" if after else "building"
    because = load_latency_table(quick.table).protocol.restarted_because
    assert because.startswith(f"ended with SIGSEGV while {doing} block ")
    assert block(tiny) in because, "among those that were being built at once"
    assert f"starting again: the process {because}" in [progress.text for progress in reports]
    found = samples(quick.journal)
    assert len(found) == len(set(found)) >= 3 * len(blocks_of(tiny))


@pytest.mark.parametrize(
    ("what", "after", "words"),
    [
        (
            "crash",
            60,
            r"its process ended with SIGSEGV while running block {}, 2 times: more free memory",
        ),
        ("crash", 0, r"its process ended with SIGSEGV while building block {}, 2 times"),
        (
            "kill",
            60,
            r"was killed \(SIGKILL\), as the system does when it is out of memory.* while running block {}",
        ),
        ("huge", 60, r"its process ran out of memory while running block {}, 2 times: close other programs"),
        ("hang", 60, r"its process gave no output for \d+ s while running block {}, 2 times"),
        ("exit", 60, r"its process ended with code 0 while running block {}, 2 times"),
    ],
)
def test_one_that_fails_twice_is_named_and_what_was_measured_is_kept(
    quick: Request, tiny: Space, monkeypatch: pytest.MonkeyPatch, what: str, after: int, words: str
) -> None:
    monkeypatch.setenv("FAULT", fault(what, block(tiny), after=after))
    with pytest.raises(BackendError, match=words.format(block(tiny))) as caught:
        profile_in_worker(quick, timeouts=IMPATIENT)
    assert f"is kept in {quick.journal}" in str(caught.value)
    assert "\n" not in str(caught.value)
    before = samples(quick.journal)
    assert len(before) >= after - 5
    assert not quick.table.exists()
    if what == "crash":
        monkeypatch.delenv("FAULT")
        assert finished(quick).certificate is not None
        assert samples(quick.journal)[: len(before)] == before


def test_failures_at_many_places_end_too(quick: Request) -> None:
    """Each process is killed from outside where it happens to be, as the system does without memory."""
    victims = []

    def kill(progress: ProfilingProgress) -> None:
        for worker in children():
            if "building network" in progress.text:
                victims.append(worker.pid)
                worker.kill()

    with pytest.raises(
        BackendError, match=r"SIGKILL.* (2 times|the last of 3 failures): close other programs"
    ):
        profile_in_worker(quick, kill)
    assert len(victims) in (2, 3)
    assert finished(quick).certificate is not None


def test_a_bug_in_it_shows_its_traceback(
    quick: Request, tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", fault("bug", block(tiny)))
    with pytest.raises(RuntimeError, match=r"(?s)in a process of its own:.*ZeroDivisionError"):
        profile_in_worker(quick)


def test_what_is_wrong_with_the_request_is_one_sentence(quick: Request) -> None:
    with pytest.raises(PonasError, match=r"unknown space 'other': known are .*ponas, .*tiny"):
        profile_in_worker(replace(quick, space=replace(quick.space, name="other")))


# --- the process that waits


_WAITING = """
    import sys
    from pathlib import Path
    sys.path[:0] = {path!r}
    from ponas_deploy.profiling import supervise
    from ponas_deploy.profiling.worker import STEP_BYTES, Request, Step
    supervise.MODULE = "faulty_worker"
    supervise.profile_in_worker(Request.from_text({request!r}), timeouts=supervise.Timeouts(120, 2, 1))
"""


@contextmanager
def waiting(request: Request) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    """Another process that waits for its worker, once that measures; a process group of their own."""
    script = _WAITING.format(path=[str(TESTS.parent), str(TESTS)], request=request.text())
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 120
            while not (request.journal.exists() and len(samples(request.journal)) > 20):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield process, psutil.Process(process.pid).children()[0]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.01)


def long(request: Request) -> Request:
    return replace(request, seconds=100.0, plan=Plan(min_rounds=400, max_rounds=400, redone_pct=0))


@pytest.mark.parametrize("everybody", [True, False], ids=["as the terminal sends it", "to one process"])
def test_ctrl_c_ends_both_and_keeps_what_is_finished(quick: Request, everybody: bool) -> None:
    with waiting(long(quick)) as (process, worker):
        (os.killpg if everybody else os.kill)(process.pid, signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT
        assert b"KeyboardInterrupt" in process.stderr.read()  # type: ignore[union-attr]
        worker.wait(60)
    kept = samples(quick.journal)
    assert len(kept) > 20
    assert finished(replace(long(quick), seconds=0.0)).certificate is not None
    assert samples(quick.journal)[: len(kept)] == kept


def test_it_does_not_go_on_when_nobody_waits_any_more_even_if_it_hangs(
    quick: Request, tiny: Space, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAULT", fault("hang", block(tiny), after=60, once=tmp_path / "once"))
    with waiting(long(quick)) as (process, worker):
        wait_for(tmp_path / "once")
        process.kill()
        worker.wait(60)


def test_the_sleep_of_a_machine_is_not_taken_for_a_hang(
    quick: Request, tiny: Space, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All of it is stopped, as by Ctrl-Z or a paused machine, for longer than a worker may give no output."""
    monkeypatch.setenv("FAULT", fault("hang", block(tiny), after=60, once=tmp_path / "once"))
    with waiting(quick) as (process, _):
        wait_for(tmp_path / "once")
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(6)
        os.killpg(process.pid, signal.SIGCONT)
        assert process.wait(120) == 0
    why = load_latency_table(quick.table).protocol.restarted_because
    found = re.match(r"gave no output for (\d+) s while running", why)
    assert found is not None
    assert int(found[1]) < 6, "it had its time after the stop"


def test_a_long_build_is_no_hang_where_kernels_are_picked_by_timing(tmp_path: Path) -> None:
    """A network after blocks that took a second: minutes without output in its build, but not while it
    runs."""
    (tmp_path / "step").write_bytes(bytes(STEP_BYTES))
    step = Step(tmp_path / "step")
    for building_s, noted, most_s in (
        (0.0, "building network", 60),
        (1800.0, "building network", 1800),
        (1800.0, "running network", 60),
    ):
        step(noted)
        watchdog = supervise._Watchdog(tmp_path / "step", Timeouts(building_s=building_s))
        assert not watchdog.is_overdue()  # the step is new
        assert [watchdog.is_overdue() for _ in range(most_s + 1)].index(True) == most_s
