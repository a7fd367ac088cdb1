"""Timing an engine while things go wrong: processes that die, others at work, somebody who measures."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from busy import burning, held
from conftest import children, command_of, tiny_space
from planted_search import task
from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.checks.engine import verify
from ponas_deploy.engines import timing
from ponas_deploy.engines.loop import WeightsSource, meet_budget
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.timing import time_engine
from ponas_deploy.errors import BackendError, MeasurementError, PonasError
from ponas_deploy.files.home import home
from ponas_deploy.files.weights import read_weights
from ponas_deploy.machines.counters import read_counters
from ponas_deploy.measuring import engine_process
from ponas_deploy.measuring.interference import Round
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.trial import middle
from ponas_deploy.tables import store
from searchspace import SPACES
from searchspace.space import Space
from searchspace.weights import random_weights

pytest.importorskip("onnxruntime")
QUIET = Plan(redone_pct=0, most_others_pct=100)


@pytest.fixture(autouse=True)
def _known_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    monkeypatch.setattr(timing, "SECONDS", 0.05)
    monkeypatch.setattr(timing, "PROCESSES", 2)


@pytest.fixture
def engine(tiny: Space, tmp_path: Path) -> Path:
    return get_backend("onnxruntime").save(network_bytes(middle(tiny), 1), RunSettings(), tmp_path)[0]


@contextmanager
def killing(most: int, sent: int = signal.SIGKILL) -> Iterator[list[int]]:
    """The first `most` processes that time an engine get a signal as soon as they are there."""
    killed, over = list[int](), threading.Event()

    def hunt() -> None:
        while not over.is_set() and len(killed) < most:
            for child in children():
                if child.pid not in killed and "engine_process" in command_of(child):
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, sent)
                    killed.append(child.pid)
            time.sleep(0.005)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        yield killed
    finally:
        over.set()
        hunter.join()


def test_a_process_that_is_killed_once_is_started_again(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "PLAN", QUIET)
    with killing(1) as killed:
        found = time_engine(engine, "onnxruntime", RunSettings())
    assert len(killed) == 1
    assert len(found.processes_ns) == 2
    with (
        killing(9),
        pytest.raises(
            BackendError, match=r"failed: it was killed \(SIGKILL\), as the system does when it is"
        ),
    ):
        time_engine(engine, "onnxruntime", RunSettings())


def test_one_that_hangs_is_stopped(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "_TIMEOUT_S", 2.0)
    with (
        killing(9, signal.SIGSTOP),
        pytest.raises(MeasurementError, match=r"took over 2.0 s and was stopped"),
    ):
        time_engine(engine, "onnxruntime", RunSettings())
    assert not children()


def test_processes_that_others_disturb_are_taken_again_and_what_was_kept_is_said_so(engine: Path) -> None:
    with burning(2 * read_counters().cores):
        found = time_engine(engine, "onnxruntime", RunSettings())
    discarded = [one for one in found.interference if one.discarded]
    assert (len(found.processes_ns), len(found.interference)) == (2, 2 + len(discarded))
    assert sum("other processes used" in one.wrong for one in discarded) >= 1
    assert all("other processes used" in one.wrong or "shared the core" in one.wrong for one in discarded)
    said = "2 of the 2 processes that timed the engine were disturbed (other"
    assert found.disturbed_on("jetson").startswith(said)
    assert "`ponas doctor --device jetson` says what to do" in found.disturbed_on("jetson")
    assert found.with_later(found).disturbed_on("").startswith("4 of the 4")


def test_what_the_timing_processes_do_themselves_is_nobody_elses() -> None:
    before = read_counters()
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    after = read_counters()
    assert after.own_s - before.own_s > 0.05


def test_a_manifest_keeps_the_interference_of_its_timings(tiny: Space, tmp_path: Path) -> None:
    with burning(2 * read_counters().cores):
        done = meet_budget(task(tiny, tmp_path, 1e3), tmp_path / "engine")
    assert done.manifest == read_manifest(tmp_path / "engine")
    assert done.manifest.measured is not None
    assert isinstance(done.manifest.measured.interference[0], Round)
    assert "were disturbed (other processes used" in done.manifest.warnings[-1]


def test_nothing_is_timed_while_somebody_else_measures(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path, 1e3)
    with held(store.lock_path()) as process:
        with pytest.raises(
            MeasurementError, match=rf"being measured already, by process {process.pid} since"
        ):
            meet_budget(given, tmp_path / "engine")
        assert not (tmp_path / "engine").exists()
    meet_budget(given, tmp_path / "engine")
    with held(store.lock_path()), pytest.raises(MeasurementError, match="being measured already"):
        verify(tmp_path / "engine")


def test_weights_that_took_long_wait_for_the_machine(tiny: Space, tmp_path: Path) -> None:
    """Somebody starts to measure while they are trained, and ends a second after that."""
    holders = list[psutil.Popen]()

    def finish(architecture):  # type: ignore[no-untyped-def]
        somebody = held(store.lock_path())
        holders.append(somebody.__enter__())  # type: ignore[arg-type]
        threading.Timer(1.0, lambda: somebody.__exit__(None, None, None)).start()
        return random_weights(architecture, seed=7)

    weights = WeightsSource("trained", random_weights, finish=finish)
    done = meet_budget(task(tiny, tmp_path, 1e3, weights=weights), tmp_path / "engine")
    assert done.chosen.meets
    assert len(holders) == 1
    assert not list(tmp_path.glob("*weights.safetensors"))


def test_weights_that_took_long_outlive_a_process_that_cannot_time_them(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "PLAN", QUIET)
    hunts = list[object]()

    def finish(architecture):  # type: ignore[no-untyped-def]
        hunt = killing(9)
        hunt.__enter__()
        hunts.append(hunt)
        return random_weights(architecture, seed=7)

    given = task(tiny, tmp_path, 1e3, weights=WeightsSource("trained", random_weights, finish=finish))
    words = r"it was killed \(SIGKILL\).* The final weights are kept in .*engine-weights.safetensors"
    with pytest.raises(MeasurementError, match=words):
        meet_budget(given, tmp_path / "engine")
    hunts[0].__exit__(None, None, None)  # type: ignore[attr-defined]
    assert read_weights(tmp_path / "engine-weights.safetensors").number("classes") == 10
    assert not (tmp_path / "engine").exists()


def test_a_full_disk_leaves_nothing_behind(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path, 1e3)
    before = {path.name for path in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(PonasError, match=r"model.onnx cannot be written: File too large"):
            meet_budget(given, tmp_path / "engine")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name for path in tmp_path.iterdir()} - {home().name} == before
