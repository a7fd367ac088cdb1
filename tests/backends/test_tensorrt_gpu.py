"""The contract of all runtimes over the real TensorRT, where there is a GPU: what to run first on one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ponas_deploy.backends import Backend, RunSettings
from ponas_deploy.backends.tensorrt import TensorRtBackend
from ponas_deploy.errors import BackendError
from ponas_deploy.testing import BackendContract

if find_spec("tensorrt") is None:
    pytest.skip("TensorRT is not installed, see docs/tensorrt.md", allow_module_level=True)

pytestmark = [pytest.mark.gpu, pytest.mark.tensorrt]


@pytest.fixture(scope="module")
def found() -> TensorRtBackend:
    try:
        return TensorRtBackend()
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture
def backend(found: TensorRtBackend) -> TensorRtBackend:
    return found


@pytest.mark.usefixtures("found")
class TestTensorRt(BackendContract):
    package = "tensorrt"

    def backend(self) -> Backend:
        return TensorRtBackend()


def test_a_graph_is_captured_and_the_queue_is_filled(backend: TensorRtBackend, model: bytes) -> None:
    with backend.load(model, RunSettings("fp16")) as session:
        assert session.captured
        assert session.launch_ns > 0
    assert "a host function sleeps" in dict(backend.environment())["queue"]


def test_a_saved_engine_is_the_one_that_was_loaded(
    backend: TensorRtBackend, model: bytes, images: np.ndarray, tmp_path: Path
) -> None:
    with backend.load(model, RunSettings("int8")) as session:
        expected = session.run(images)
    first = backend.save(model, RunSettings("int8"), tmp_path / "first")[0]
    second = backend.save(model, RunSettings("int8"), tmp_path / "second")[0]
    assert first.read_bytes() == second.read_bytes()
    with backend.open(first, RunSettings("int8")) as session:
        assert np.array_equal(session.run(images), expected)


def test_layers_take_time(backend: TensorRtBackend, model: bytes) -> None:
    with backend.load(model, RunSettings()) as session:
        times = session.layer_times_ms()
    assert len(times) > 1
    assert all(ms >= 0 for _, ms in times)
    assert sum(ms for _, ms in times) > 0
