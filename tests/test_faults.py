"""Faults of the machine, made to happen: what was measured is kept, and one sentence says what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from busy import burning, held
from conftest import children
from faulty_worker import IMPATIENT, fault, quick_request, samples
from ponas_deploy.backends.fake import FakeBackend
from ponas_deploy.errors import BackendError, MeasurementError, PonasError
from ponas_deploy.files.lock import machine_to_oneself
from ponas_deploy.machines.counters import read_counters
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling import making, supervise
from ponas_deploy.profiling.models import blocks_of
from ponas_deploy.profiling.profile import profile
from ponas_deploy.profiling.supervise import profile_in_worker
from ponas_deploy.profiling.worker import Request
from ponas_deploy.tables import store
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.latency import LatencyTable
from searchspace import Space

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def quick(tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    monkeypatch.setattr(supervise, "MODULE", "faulty_worker")
    return quick_request(tiny, tmp_path)


def block(space: Space) -> str:
    return list(blocks_of(space))[5]


def goes_on(request: Request, monkeypatch: pytest.MonkeyPatch) -> LatencyTable:
    """The same command without the fault: it measures what is missing, and nothing twice."""
    before = samples(request.journal)
    monkeypatch.delenv("FAULT")
    profile_in_worker(request)
    found = samples(request.journal)
    assert found[: len(before)] == before
    assert len(found) == len(set(found))
    return load_latency_table(request.table)


def test_a_block_that_the_runtime_refuses_is_named(
    quick: Request, tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", fault("refusal", block(tiny)))
    with pytest.raises(BackendError, match=rf"^onnxruntime: block {block(tiny)} was refused \(.*cannot load"):
        profile_in_worker(quick)
    assert goes_on(quick, monkeypatch).certificate is not None


def test_memory_that_runs_out_keeps_the_waves_before(
    quick: Request, tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", fault("memory", block(tiny), after=45))
    # Runtimes say so, crash without a word, or hang.
    words = r"its process .*memory.*; what was measured is kept in"
    with pytest.raises(BackendError, match=words):
        profile_in_worker(quick, timeouts=IMPATIENT)
    assert len(samples(quick.journal)) > 40
    assert goes_on(quick, monkeypatch).certificate is not None


def test_a_full_disk_keeps_what_was_measured(
    quick: Request, tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", fault("disk", block(tiny), after=60))
    with pytest.raises(PonasError, match=r"table.journal cannot be written \(File too large\): what was"):
        profile_in_worker(quick)
    assert len(samples(quick.journal)) >= 50
    assert goes_on(quick, monkeypatch).certificate is not None


def test_a_wall_clock_that_jumps_changes_nothing(
    quick: Request, tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the process that measures, it is an hour later at every look."""
    monkeypatch.setenv("FAULT", fault("clock", ""))
    plan = replace(quick.plan, min_rounds=5, max_rounds=5)
    profile_in_worker(replace(quick, seconds=100.0, plan=plan))
    table = load_latency_table(quick.table)
    said = table.protocol
    assert (said.rounds, said.stopped_by) == ((5,), "rounds"), "the time was not over"
    assert all(0 < ns < 1e9 for _, m in table.measurements for ns in m.rounds_ns)


@pytest.mark.parametrize("noticed", [True, False])
def test_a_sample_during_which_the_machine_stood_still_is_taken_again(
    quick: Request, tiny: Space, monkeypatch: pytest.MonkeyPatch, noticed: bool
) -> None:
    monkeypatch.setenv("FAULT", fault("stop", block(tiny), after=60))
    plan = quick.plan if noticed else replace(quick.plan, stalled_ns=10**12)
    waiting = threading.Thread(target=profile_in_worker, args=(replace(quick, plan=plan),))
    waiting.start()
    stopped = None
    while stopped is None:
        assert waiting.is_alive()
        stopped = next((c for c in children() if c.status() == psutil.STATUS_STOPPED), None)
        time.sleep(0.01)
    time.sleep(2)
    stopped.send_signal(signal.SIGCONT)
    waiting.join()
    table = load_latency_table(quick.table)
    longest_ns = max(ns * m.runs for _, m in table.measurements for ns in m.rounds_ns)
    assert (longest_ns < 1e9) == noticed, "without the rule the stop is in the table"
    assert not table.protocol.restarted_because


# --- two at once


def test_two_profiles_at_once_are_refused_and_a_dead_one_holds_nobody_up(quick: Request, tiny: Space) -> None:
    def make() -> None:
        making.make_table(quick.conditions, tiny, time_budget_s=0.0, path=quick.table)

    with held(store.lock_path()) as process:
        words = (
            rf"by process {process.pid} since 20\d\d-.* \(rpi, onnxruntime fp32, 1 thread, batch 1\): wait"
        )
        with pytest.raises(MeasurementError, match=words):
            make()
        assert not quick.table.exists()
        process.kill()
        process.wait()
        assert store.lock_path().read_text(), "it left its name behind"
        make()
    assert load_latency_table(quick.table).certificate is not None
    assert not quick.journal.exists()


def test_a_store_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(MeasurementError, match=r"cannot be written \(.*\): make room, or set PONAS_HOME"),
        machine_to_oneself(tmp_path / "file" / "lock", "a test"),
    ):
        pass


# --- a machine that others use


class SlowFake(FakeBackend):
    """Rounds that last long enough to be checked: each sample sleeps as well."""

    def load(self, model, settings):  # type: ignore[no-untyped-def]
        session = super().load(model, settings)
        time_ns = session.time_ns
        session.time_ns = lambda runs: (time.sleep(0.002), time_ns(runs))[1]  # type: ignore[method-assign]
        return session


def test_rounds_on_a_machine_that_others_keep_busy_are_redone_within_bounds_and_the_table_says_so(
    tiny: Space,
) -> None:
    plan = Plan(retakes=0, pause_s=0.0, max_rounds=8, min_rounds=8)
    with burning(read_counters().cores):
        table = profile(tiny, SlowFake(), plan=plan)
    said = table.protocol.interference
    assert said is not None
    assert said.kept_rounds == 8
    assert said.wrong_rounds >= 6
    assert 1 <= said.discarded_rounds <= 2, "a quarter of the rounds"
    assert "other processes used" in said.wrong_because
    assert table.certificate is not None


CPU_GROUPS = Path("/sys/fs/cgroup/cpu")


@contextmanager
def quota(share: float) -> Iterator[Path]:
    """A control group whose processes get `share` of a core; skips where none can be made."""
    group = CPU_GROUPS / f"ponas-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        period_us = int((group / "cpu.cfs_period_us").read_text())
        (group / "cpu.cfs_quota_us").write_text(str(round(share * period_us)))
        yield group
    finally:
        group.rmdir()


def test_what_a_containers_quota_holds_up_is_counted() -> None:
    script = """
        import sys, time
        sys.path.insert(0, {root!r})
        from pathlib import Path
        Path({group!r}, "cgroup.procs").write_text("0")
        from ponas_deploy.machines.machine import this_machine
        from ponas_deploy.measuring.protocol import Plan
        from ponas_deploy.measuring.interference import Interference
        interference = Interference(Plan())
        interference.begin()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            pass
        print(interference.end(0, may_redo=True), this_machine().quota_cores, interference.rounds[0].wrong)
    """
    with quota(0.3) as group:
        script = textwrap.dedent(script.format(root=str(ROOT), group=str(group)))
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("True 0.3 ")
    assert "the container's quota held it up for" in done.stdout
