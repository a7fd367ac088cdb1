"""TensorRT's calls on a stand-in: captures, what is timed and how. Its contract: `test_gpu_contract`."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import replace
from io import StringIO
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import pytest
from rich.console import Console
from tensorrt_standin import MS_A_RUN, Code, Machine

from ponas_deploy.backends import RunSettings, _cuda
from ponas_deploy.backends._gpu_protocol import MOST_ENQUEUED
from ponas_deploy.backends.tensorrt import TensorRtBackend
from ponas_deploy.checks.engine import layer_times_ms
from ponas_deploy.commands.reports.layers import layers_report
from ponas_deploy.engines.emit import build, emit
from ponas_deploy.engines.manifest import Manifest
from ponas_deploy.errors import BackendError
from ponas_deploy.tables.latency import Conditions
from searchspace import build_space, parse_architecture
from searchspace.weights import random_weights


@pytest.fixture
def backend(tensorrt: TensorRtBackend) -> TensorRtBackend:
    return tensorrt


def again(machine: Machine) -> TensorRtBackend:
    """What a new process has."""
    return TensorRtBackend()


def test_a_session_runs_captures_and_then_replays(
    backend: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    with backend.load(model, RunSettings()) as session:
        assert session.captured
        assert machine.calls.count("execute") == 5  # the input's, three to warm up, and the captured one
        machine.calls.clear()
        assert session.time_ns(3) == round(3 * MS_A_RUN * 1e6)
        launches = ["cudaGraphLaunch"] * 3
        assert machine.calls == [
            "cuLaunchHostFunc",
            "cudaGraphLaunch",
            "cudaEventRecord",
            *launches,
            "cudaEventRecord",
            "cudaEventQuery",
            "cudaGetLastError",
            "cudaStreamSynchronize",
        ]
        assert session.launch_ns > 0
    environment = dict(backend.environment())
    assert (environment["execution"], environment["streams"]) == ("CUDA graph", "1")
    assert backend.uncaptured == ()
    assert "a host function sleeps" in dict(backend.environment())["queue"]


@pytest.mark.parametrize("step", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_where_a_capture_fails_runs_are_enqueued_and_it_is_reported(
    backend: TensorRtBackend, machine: Machine, model: bytes, images: np.ndarray, step: str
) -> None:
    with backend.load(model, RunSettings()) as session:
        expected = session.run(images)
    machine.refuse[step] = Code.cudaErrorStreamCaptureUnsupported
    with backend.load(model, RunSettings()) as session:
        assert not session.captured
        assert "cudaGetLastError" in machine.calls
        assert np.array_equal(session.run(images), expected)
        machine.calls.clear()
        assert session.time_ns(2) == round(2 * MS_A_RUN * 1e6)
        assert "cuLaunchHostFunc" not in machine.calls
        assert machine.calls.count("execute") == 2
    (reason,) = backend.uncaptured
    assert "words for cudaErrorStreamCaptureUnsupported" in reason
    # What a journal and a table are compared by stays the same, so that the profile can go on.
    assert backend.environment() == again(machine).environment()


def test_without_host_functions_the_queue_is_not_filled_and_that_is_reported(
    machine: Machine, model: bytes
) -> None:
    machine.refuse["cuLaunchHostFunc"] = Code.cudaErrorNoDevice
    backend = TensorRtBackend()
    assert dict(backend.environment())["queue"] == "not filled"
    with backend.load(model, RunSettings()) as session:
        assert session.time_ns(2) == round(2 * MS_A_RUN * 1e6)


def test_more_launches_than_the_queue_takes_are_timed_in_parts(
    backend: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    """A part for which the GPU began too early does not count: it would hold the host's gaps."""
    with backend.load(model, RunSettings()) as session:
        assert session._clock is not None
        assert session._clock.most == MOST_ENQUEUED
        machine.queue_length = 41
        machine.calls.clear()
        assert session.time_ns(100) == round(100 * MS_A_RUN * 1e6)
        assert session._clock.most == 25
        tried = [(100, 2), (50, 2), (25, 4)]
        holds = sum(times for _, times in tried)
        assert machine.calls.count("cuLaunchHostFunc") == holds
        assert machine.calls.count("cudaGraphLaunch") == sum((count + 1) * times for count, times in tried)
        machine.queue_length = 0
        assert session.time_ns(3) == round(3 * MS_A_RUN * 1e6), "fewer are not tried"
        assert session._clock.most == 25


def test_the_memory_that_is_free_is_cudas(backend: TensorRtBackend, machine: Machine) -> None:
    assert backend.free_gpu_bytes() == machine.free_bytes


DRIVER = """
#include <pthread.h>
static pthread_t thread;
int cuLaunchHostFunc(void *stream, void *(*function)(void *), void *data) {
    return pthread_create(&thread, 0, function, data);
}
int wait_for_it(void) { return pthread_join(thread, 0); }
"""


def test_what_holds_the_stream_is_the_c_librarys_sleep(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A driver that calls what it is given from a thread of its own, as CUDA does: no Python is in it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler: install gcc")
    (tmp_path / "driver.c").write_text(DRIVER)
    library = tmp_path / "libdriver.so"
    options = ["-shared", "-fPIC", "-pthread", "-w"]
    subprocess.run([compiler, *options, "-o", library, tmp_path / "driver.c"], check=True)
    loaded = ctypes.CDLL(str(library))
    monkeypatch.setattr(_cuda, "driver_library", lambda: loaded)
    cuda = _cuda.Cuda("tensorrt")
    assert cuda.fills_queue
    start = perf_counter_ns()
    cuda.hold_stream(50e6)
    assert loaded.wait_for_it() == 0
    assert perf_counter_ns() - start >= 50e6


def test_a_session_leaves_nothing_on_the_gpu(
    backend: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    with backend.load(model, RunSettings()):
        assert len(machine.memory) == 2
    assert machine.memory == {}
    assert machine.calls.count("cudaEventDestroy") == 2
    assert machine.calls.count("cudaGraphExecDestroy") == 1


def test_layers_are_timed_in_runs_of_their_own(
    backend: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    with backend.load(model, RunSettings()) as session:
        before = machine.calls.count("execute")
        assert session.layer_times_ms(4) == (("first", 0.5), ("second", 1.5))
        assert machine.calls.count("execute") == before + 4


def test_the_layers_of_an_engine_folder_are_timed(machine: Machine, tmp_path: Path) -> None:
    architecture = parse_architecture("PONAS-A", build_space("ponas", 32, 10))
    for backend, precision in (("tensorrt", "fp16"), ("onnxruntime", "fp32"), ("tensorrt", "")):
        conditions = Conditions("gpu", backend, precision or "fp16", 1, 1)
        folder = tmp_path / f"{backend}{precision}"

        def fill(to: Path, conditions: Conditions = conditions) -> None:
            build(architecture, random_weights(architecture), conditions, to)

        names = {"tensorrt": "engine.plan", "onnxruntime": "engine.optimized.onnx"}
        manifest = Manifest.of(architecture, conditions, "random", "2026-11-20T00:00:00+00:00")
        emit(replace(manifest, engine_file=names[backend] if precision else ""), folder, fill)
    assert layer_times_ms(tmp_path / "tensorrtfp16") == (("first", 0.5), ("second", 1.5))
    with pytest.raises(BackendError, match="onnxruntime: does not time layers"):
        layer_times_ms(tmp_path / "onnxruntimefp32")
    with pytest.raises(BackendError, match="holds no engine"):
        layer_times_ms(tmp_path / "tensorrt")
    console = Console(file=StringIO(), width=80)
    console.print(layers_report((("[conv] + relu", 0.5), ("gemm", 1.5))))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [" ".join(line.split()) for line in written.splitlines()]
    assert "[conv] + relu 0.5000 ms 25.0 %" in rows
