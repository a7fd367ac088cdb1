"""Every session of ONNX Runtime is made here: one way to import it, one set of options, exact INT8.

ONNX Runtime's optimizer WeightBiasQuantization turns the bias of a convolution between Q/DQ pairs into whole
numbers, by a scale that is the product of two others, in their type. Where that is half precision (the models
of strongly typed runtimes, `onnx_precision.py`) many products are subnormal and some biases overflow: a
trained network lost 15 points of top-1 that no GPU would lose. Such models are run without it. A scale in
single precision holds the product, and models of that kind are optimised as ever.
Source: onnxruntime/core/optimizer/qdq_transformer/weight_bias_quantization.cc.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ponas_deploy.backends._buffers import first_line, import_fault
from ponas_deploy.backends.onnx_interface import HALF, read_interface
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError

CPU_PROVIDER = "CPUExecutionProvider"
INEXACT = ("WeightBiasQuantization",)
"""Optimizers that change the numbers of Q/DQ in half precision."""
_ERRORS_ONLY = 3


def import_onnxruntime(backend: str, package: str = "onnxruntime") -> Any:
    """The module, told to log errors only; BackendError names the package where it is not installed.

    Its telemetry is off: it would write into the home and have a thread beside what is timed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(backend, import_fault(error, package)) from error
    onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
    return onnxruntime


def session_options(runtime: Any, settings: RunSettings) -> Any:
    """All optimisations, sequential execution, explicit threads."""
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # An idle pool otherwise spins into whatever is timed next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def compiled(
    runtime: Any, model: bytes | str, options: Any, provider: Any = CPU_PROVIDER, **more: Any
) -> Any:
    """A session of a model, by its bytes or its file, in one provider; raises what the runtime raises.

    Files are engines: they were optimised before and are run as they are.
    """
    if isinstance(model, bytes) and _quantised_in_half(model):
        more["disabled_optimizers"] = list(INEXACT)
    return runtime.InferenceSession(model, options, providers=[provider], **more)


def _quantised_in_half(model: bytes) -> bool:
    """Whether a model has Q/DQ pairs and takes half precision, as all those that are written in it do."""
    try:
        return b"DequantizeLinear" in model and read_interface("onnxruntime", model).input.type == HALF
    except BackendError:  # several inputs, or what is no ONNX: the runtime says it better
        return False


@contextmanager
def translated(backend: str, what: str) -> Iterator[None]:
    """ONNX Runtime's errors share no base class below Exception."""
    try:
        yield
    except Exception as error:
        raise BackendError(backend, f"{what}: {first_line(error)}") from error
