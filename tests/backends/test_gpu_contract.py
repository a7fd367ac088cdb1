"""The contract over the runtimes of a GPU, each with a stand-in below it."""

from __future__ import annotations

import pytest
from test_onnxruntime_gpu import gpu  # noqa: F401 (fixture)
from test_trtexec import log  # noqa: F401 (fixture)

from ponas_deploy.backends import Backend, get_backend
from ponas_deploy.testing import BackendContract

# What is missing where these do not start is a program or a provider, not a package: `package` stays empty.


@pytest.mark.usefixtures("log")
class TestTrtexec(BackendContract):
    def backend(self) -> Backend:
        pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
        return get_backend("trtexec")


@pytest.mark.usefixtures("gpu")
class TestOnnxRuntimeCuda(BackendContract):
    def backend(self) -> Backend:
        return get_backend("onnxruntime-cuda")


@pytest.mark.usefixtures("machine")
class TestTensorRt(BackendContract):
    package = "tensorrt"

    def backend(self) -> Backend:
        return get_backend("tensorrt")


@pytest.mark.usefixtures("machine")
class TestTensorRtRtx(BackendContract):
    def backend(self) -> Backend:
        return get_backend("tensorrt-rtx")
