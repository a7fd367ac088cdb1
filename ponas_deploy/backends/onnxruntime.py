"""ONNX Runtime on the CPU, set up for latency.

Settings: https://onnxruntime.ai/docs/performance/tune-performance/threading.html. All graph
optimisations, sequential execution, explicit threads; input and output preallocated and bound once
(a bound buffer that is collected crashes the runtime, so the session keeps them).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ponas_deploy.backends._buffers import (
    check_images,
    check_settings,
    filled_buffer,
    static_shape,
)
from ponas_deploy.backends.cpu_scales import CpuScales
from ponas_deploy.backends.onnx_calibration import Calibration
from ponas_deploy.backends.onnx_prepared import PREPARED_FOR
from ponas_deploy.backends.onnxruntime_sessions import (
    CPU_PROVIDER,
    compiled,
    import_onnxruntime,
    session_options,
    translated,
)
from ponas_deploy.backends.protocol import INT8, MIXED, RunSettings
from ponas_deploy.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAME = "onnxruntime"
ENGINE = "engine.optimized.onnx"


class OnnxRuntimeBackend:
    """The CPU provider of ONNX Runtime."""

    name = _NAME

    def __init__(self) -> None:
        self._runtime = import_onnxruntime(_NAME)
        self._scales = CpuScales(_NAME)

    def calibrate(self, images: NDArray[np.float32]) -> None:
        """Take INT8 scales from these images from now on, see `Calibration`."""
        self._scales = CpuScales(_NAME, Calibration(images))

    def precisions(self) -> tuple[str, ...]:
        """fp32, int8 and both: half precision here inserts casts, which tests numerics, not speed."""
        return ("fp32", INT8, MIXED)

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Version and settings that a latency depends on."""
        return (
            ("runtime", f"onnxruntime {self._runtime.__version__}"),
            ("provider", CPU_PROVIDER),
            ("graph_optimization", "all"),
            ("execution_mode", "sequential"),
            ("spinning", "stops after each run"),
            *self._scales.environment(),
        )

    def load(self, model: bytes, settings: RunSettings) -> OnnxRuntimeSession:
        """Compile an ONNX model with every optimisation."""
        check_settings(_NAME, self.precisions(), settings)
        with translated(_NAME, "cannot load the model"):
            options = session_options(self._runtime, settings)
            return OnnxRuntimeSession(self._compile(self._scales.applied(model, settings.precision), options))

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """Write the optimised model; it holds nodes of this processor (NCHWc) and stays on it."""
        check_settings(_NAME, self.precisions(), settings)
        folder.mkdir(parents=True, exist_ok=True)
        engine = folder / ENGINE
        with TemporaryDirectory(dir=folder, prefix=".save-") as beside:
            options = session_options(self._runtime, settings)
            options.optimized_model_filepath = str(Path(beside) / ENGINE)
            with translated(_NAME, "cannot write the optimised model"):
                self._compile(self._scales.applied(model, settings.precision), options)
            (Path(beside) / ENGINE).replace(engine)
        return (engine,)

    def open(self, engine: Path, settings: RunSettings) -> OnnxRuntimeSession:
        """A session of an optimised model, run as it is: nothing is optimised again."""
        check_settings(_NAME, self.precisions(), settings)
        options = session_options(self._runtime, settings)
        options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        with translated(_NAME, f"cannot open {engine}"):
            return OnnxRuntimeSession(self._compile(str(engine), options))

    def _compile(self, model: bytes | str, options: Any) -> Any:
        return compiled(self._runtime, model, options)


class OnnxRuntimeSession:
    """A model with its buffers bound once; see `backends.Session`."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        sources, targets = compiled.get_inputs(), compiled.get_outputs()
        self._binding = compiled.io_binding()
        self._inputs = [
            filled_buffer(static_shape(_NAME, one.shape, "input"), _type(one.type)) for one in sources
        ]
        for source, buffer in zip(sources, self._inputs):
            self._bind(self._binding.bind_input, source.name, buffer)
        self._outputs = [_output(one) for one in targets]
        for target, room in zip(targets, self._outputs):
            if room is None:  # its shape is known when the model has run
                self._binding.bind_output(target.name, "cpu")
            else:
                self._bind(self._binding.bind_output, target.name, room)

    @staticmethod
    def _bind(bind: Callable[..., None], name: str, buffer: NDArray[Any]) -> None:
        bind(name, "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)

    def settings(self) -> RunSettings:
        """What the runtime says it was compiled with."""
        session = self._open()
        precision = session.get_modelmeta().custom_metadata_map.get(PREPARED_FOR, "fp32")
        return RunSettings(precision, session.get_session_options().intra_op_num_threads)

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for images of the model's input shape."""
        compiled = self._open()
        check_images(_NAME, images, self._inputs[0].shape)
        self._inputs[0][...] = images
        with translated(_NAME, "failed while running"):
            compiled.run_with_iobinding(self._binding)
            first = self._outputs[0]
            found = self._binding.copy_outputs_to_cpu()[0] if first is None else first
        return np.array(found, np.float32)

    def time_ns(self, runs: int) -> int:
        """Nanoseconds that `runs` back-to-back runs took together."""
        run, binding = self._open().run_with_iobinding, self._binding
        with translated(_NAME, "failed while being timed"):
            start = perf_counter_ns()
            for _ in range(runs):
                run(binding)
            return perf_counter_ns() - start

    def close(self) -> None:
        """Free the runtime's memory."""
        self._binding = self._compiled = None

    def __enter__(self) -> OnnxRuntimeSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Any:
        if self._compiled is None:
            raise BackendError(_NAME, "the session is closed: load the model again.")
        return self._compiled


_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    **{
        f"tensor({sign}int{bits})": np.dtype(f"{sign}int{bits}").type
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}


def _type(name: str) -> type[np.generic]:
    if name not in _TYPES:
        raise BackendError(_NAME, f"the model takes or gives {name}, which is not timed.")
    return _TYPES[name]


def _output(port: Any) -> NDArray[Any] | None:
    """Room for an output; None where its shape is open or its type has no room of its own."""
    sizes = [size for size in port.shape if isinstance(size, int) and size > 0]
    if len(sizes) < len(port.shape) or port.type not in _TYPES:
        return None
    return filled_buffer(sizes, _TYPES[port.type])


def with_folded_constants(model: bytes) -> bytes:
    """The same model with what can be computed without an input computed; for any processor.

    BackendError where ONNX Runtime is not installed or refuses the model.
    """
    runtime = import_onnxruntime(_NAME)
    options = session_options(runtime, RunSettings())
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with TemporaryDirectory() as folder, translated(_NAME, "cannot load the model"):
        file = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(file)
        compiled(runtime, model, options)
        return file.read_bytes()
