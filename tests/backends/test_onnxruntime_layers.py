"""The nodes of a model by ONNX Runtime's profiler, run for real."""

from __future__ import annotations

import pytest

from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.onnxruntime_layers import layer_times_ms
from ponas_deploy.errors import BackendError


def test_each_node_has_a_time_and_its_operator(model: bytes) -> None:
    found = layer_times_ms(model, RunSettings("fp32", 1), runs=3)
    names = [name for name, _ in found]
    assert len(names) == len(set(names)) > 5
    assert any(name.endswith("(Conv)") for name in names)
    assert "Gemm" in names[-1]
    assert all(ms >= 0 for _, ms in found)
    assert sum(ms for _, ms in found) > 0


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(BackendError, match="cannot load the model"):
        layer_times_ms(b"nothing", RunSettings("fp32", 1))
