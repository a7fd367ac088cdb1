"""Engines are built in a process of their own: whatever happens there is one sentence here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.fake import FakeBackend
from ponas_deploy.engines.building import build_apart
from ponas_deploy.engines.timing import time_engine
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.measuring import build_process
from ponas_deploy.measuring.build_process import calibrated
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.tables.latency import Conditions
from searchspace import Architecture, Space

TESTS = Path(__file__).resolve().parents[1]
HERE = Conditions("here", "onnxruntime", "fp32", 1, 1)


@pytest.fixture
def model(tiny: Space, tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    path.write_bytes(network_bytes(Architecture.from_indices(tiny, (0, 0, 0)), 1))
    return path


@pytest.fixture
def happens(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(build_process, "MODULE", "faulty_builder")
    return monkeypatch


def test_progress_comes_through_and_what_a_runtime_prints_does_not_disturb(
    model: Path, happens: pytest.MonkeyPatch
) -> None:
    happens.setenv("FAULT", "none")
    reports: list[str] = []
    engine = build_apart(model, HERE, None, lambda build: reports.append(build.text))
    assert reports == ["Building: 1 of 2"]
    assert engine.parent == model.parent
    assert time_engine(engine, "onnxruntime", RunSettings()).runs > 0


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("crash", r"onnxruntime: the process that builds the engine ended with SIGSEGV.*another version"),
        ("kill", r"was killed \(SIGKILL\), as the system does when it is out of memory: close other"),
        ("memory", r"the process that builds the engine ran out of memory: close other programs"),
        ("refused", r"^onnxruntime: cannot build this\.$"),
    ],
)
def test_what_brings_it_down_is_one_sentence_with_the_next_step(
    model: Path, happens: pytest.MonkeyPatch, fault: str, sentence: str
) -> None:
    happens.setenv("FAULT", fault)
    with pytest.raises(BackendError, match=sentence):
        build_apart(model, HERE, None, None)


def test_other_errors_stay_what_they_are_and_a_bug_shows_itself(
    model: Path, happens: pytest.MonkeyPatch
) -> None:
    happens.setenv("FAULT", "full")
    with pytest.raises(PonasError, match=r"^the disk is full\.$"):
        build_apart(model, HERE, None, None)
    happens.setenv("FAULT", "bug")
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*ZeroDivisionError"):
        build_apart(model, HERE, None, None)


def test_images_go_along(model: Path, happens: pytest.MonkeyPatch) -> None:
    images = np.ones((2, 3, 8, 8), np.float32)
    with pytest.raises(BackendError, match="takes no images for INT8 scales"):
        calibrated(FakeBackend(), images)
    happens.setenv("FAULT", "none")
    with pytest.raises(BackendError, match=r"\(2, 3, 8, 8\) float32 came, 384\.0 in sum"):
        build_apart(model, HERE, images, None)


@pytest.fixture
def pids(tmp_path: Path, happens: pytest.MonkeyPatch) -> Path:
    """Where the process that builds and the compiler it started write their numbers; both hang."""
    happens.setenv("FAULT", "hang")
    happens.setenv("PIDS", str(tmp_path / "pids"))
    return tmp_path / "pids"


def ended(pids: Path) -> bool:
    """Whether both are gone, a moment later at most."""
    for pid in map(int, pids.read_text().split()):
        deadline = time.monotonic() + 10
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return True


def test_ctrl_c_ends_it_and_what_it_started(model: Path, pids: Path) -> None:
    def interrupt() -> None:
        while not (pids.exists() and pids.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    waiting = threading.Thread(target=interrupt)
    waiting.start()
    with pytest.raises(KeyboardInterrupt):
        build_apart(model, HERE, None, None)
    waiting.join()
    assert ended(pids)


def test_it_ends_with_the_process_that_waits_for_it(model: Path, pids: Path) -> None:
    script = (
        "from pathlib import Path; from ponas_deploy.engines import building;"
        " from ponas_deploy.measuring import build_process;"
        " from ponas_deploy.tables.latency import Conditions; build_process.MODULE = 'faulty_builder';"
        f" building.build_apart(Path({str(model)!r}), {HERE!r}, None, None)"
    )
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    with subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": paths}) as process:
        while not (pids.exists() and pids.read_text()):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert ended(pids)
