"""OpenVINO on the CPU, set up for latency.

Settings: https://docs.openvino.ai (CPU device, LATENCY hint). The precision is always set: left
alone, OpenVINO picks bf16 where the processor has it, which is another network's latency. One thread is
not pinned, as OpenVINO would: it pins that of every process to core 0, whoever else runs there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
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
    first_line,
    import_fault,
    static_shape,
)
from ponas_deploy.backends.cpu_scales import CpuScales
from ponas_deploy.backends.onnx_calibration import Calibration
from ponas_deploy.backends.protocol import INT8, MIXED, RunSettings
from ponas_deploy.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAME = "openvino"
_DEVICE = "CPU"
# Our name -> (OpenVINO's capability, its precision hint).
# INT8 is in the model (`onnx_quantised.py`), the hint is for the rest of it.
_PRECISIONS = {
    "fp32": ("FP32", "f32"),
    "bf16": ("BF16", "bf16"),
    "fp16": ("FP16", "f16"),
    INT8: ("INT8", "f32"),
    MIXED: ("INT8", "f32"),
}
ENGINE = ("engine.xml", "engine.bin")


@lru_cache(maxsize=None)
def _core(runtime: Any) -> Any:
    """OpenVINO's core, one for the process.

    Its CPU plug-in gives the thread that loads it a stack for signals and frees it when it is unloaded. Where
    another thread does that, the next Ctrl-C ends in a segmentation fault.
    """
    return runtime.Core()


def _imported() -> Any:
    """The module, without its telemetry; BackendError where it is not installed.

    Importing openvino reports that to Google Analytics and writes into the home, unless its package for that
    cannot be imported: then it takes its own stand-in, which does nothing (openvino/tools/ovc).
    """
    hidden = "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise BackendError(_NAME, import_fault(error, "openvino")) from error
    finally:
        if hidden:
            del sys.modules["openvino_telemetry"]
    return openvino


class OpenVinoBackend:
    """The CPU device of OpenVINO."""

    name = _NAME

    def __init__(self) -> None:
        self._runtime = _imported()
        with _translated("cannot start"):
            self._core = _core(self._runtime)
            self._capabilities = tuple(self._core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"))
        self._scales = CpuScales(_NAME)

    def calibrate(self, images: NDArray[np.float32]) -> None:
        """Take INT8 scales from these images from now on, see `Calibration`."""
        self._scales = CpuScales(_NAME, Calibration(images))

    def precisions(self) -> tuple[str, ...]:
        """fp32, and the shorter ones this processor has instructions for."""
        return tuple(
            name for name, (capability, _) in _PRECISIONS.items() if capability in self._capabilities
        )

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Version and settings that a latency depends on."""
        return (
            ("runtime", f"openvino {self._runtime.get_version()}"),
            ("runtime_device", str(self._core.get_property(_DEVICE, "FULL_DEVICE_NAME"))),
            ("capabilities", ",".join(self._capabilities)),
            ("performance_hint", "LATENCY"),
            ("streams", "1"),
            ("pinning", "from two threads on"),
            *self._scales.environment(),
        )

    def load(self, model: bytes, settings: RunSettings) -> OpenVinoSession:
        """Compile an ONNX model in the precision asked for."""
        check_settings(_NAME, self.precisions(), settings)
        with _translated("cannot load the model"):
            return self._compile(self._read(model, settings), settings)

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """Write the intermediate representation with weights in full (the default would halve them)."""
        check_settings(_NAME, self.precisions(), settings)
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".save-") as beside:
            with _translated("cannot write the model"):
                self._runtime.save_model(
                    self._read(model, settings), str(Path(beside) / ENGINE[0]), compress_to_fp16=False
                )
            return tuple((Path(beside) / name).replace(folder / name) for name in ENGINE)

    def open(self, engine: Path, settings: RunSettings) -> OpenVinoSession:
        """A session of a representation that `save` wrote."""
        check_settings(_NAME, self.precisions(), settings)
        with _translated(f"cannot open {engine}"):
            return self._compile(self._core.read_model(str(engine)), settings)

    def _read(self, model: bytes, settings: RunSettings) -> Any:
        if not model:
            raise BackendError(_NAME, "the model is empty.")
        return self._core.read_model(self._scales.applied(model, settings.precision))

    def _compile(self, model: Any, settings: RunSettings) -> OpenVinoSession:
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": str(settings.streams),
            "INFERENCE_NUM_THREADS": settings.threads * settings.streams,
            "ENABLE_CPU_PINNING": settings.threads * settings.streams > 1,
            "INFERENCE_PRECISION_HINT": _PRECISIONS[settings.precision][1],
        }
        compiled = self._core.compile_model(model, _DEVICE, config)
        # A network of a mixed space may have no layer on integers.
        mixed = settings.precision == MIXED
        integers = MIXED if mixed else INT8 if _is_quantised(model) else ""
        return OpenVinoSession(compiled, self._runtime, settings.streams, integers)


class OpenVinoSession:
    """A compiled model and one request with its tensors set once; see `backends.Session`."""

    def __init__(self, compiled: Any, runtime: Any, streams: int = 1, integers: str = "") -> None:
        self._compiled, self._integers = compiled, integers
        self._runtime, self._streams = runtime, streams
        self._inputs = [filled_buffer(_shape(one, "input"), _type(one)) for one in compiled.inputs]
        self._outputs = [_output(one) for one in compiled.outputs]
        self._request = compiled.create_infer_request()
        for index, buffer in enumerate(self._inputs):
            self._request.set_input_tensor(index, runtime.Tensor(buffer, shared_memory=True))
        for index, room in enumerate(self._outputs):
            if room is not None:  # else its shape is known when the model has run
                self._request.set_output_tensor(index, runtime.Tensor(room, shared_memory=True))

    def settings(self) -> RunSettings:
        """What the runtime says it was compiled with."""
        self._open()
        hint = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        precision = next((name for name, (_, known) in _PRECISIONS.items() if known == hint), hint)
        precision = self._integers or precision
        threads = int(self._compiled.get_property("INFERENCE_NUM_THREADS"))
        return RunSettings(precision, threads // self._streams)

    def another(self) -> OpenVinoSession:
        """A request of its own on the same compiled model."""
        self._open()
        return OpenVinoSession(self._compiled, self._runtime, self._streams, self._integers)

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for images of the model's input shape."""
        request = self._open()
        check_images(_NAME, images, self._inputs[0].shape)
        self._inputs[0][...] = images
        with _translated("failed while running"):
            request.infer(share_outputs=True)
            return np.array(request.get_output_tensor(0).data, np.float32)

    def time_ns(self, runs: int) -> int:
        """Nanoseconds that `runs` back-to-back runs took together."""
        infer = self._open().infer
        with _translated("failed while being timed"):
            start = perf_counter_ns()
            for _ in range(runs):
                infer(share_outputs=True)
            return perf_counter_ns() - start

    def close(self) -> None:
        """Free the runtime's memory."""
        self._request = self._compiled = None

    def __enter__(self) -> OpenVinoSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Any:
        if self._request is None:
            raise BackendError(_NAME, "the session is closed: load the model again.")
        return self._request


def _is_quantised(model: Any) -> bool:
    """Whether a model that OpenVINO read has quantised values."""
    return any(operation.get_type_name() == "FakeQuantize" for operation in model.get_ops())


def _shape(port: Any, what: str) -> tuple[int, ...]:
    sizes = [size.get_length() if size.is_static else str(size) for size in port.partial_shape]
    return static_shape(_NAME, sizes, what)


def _type(port: Any) -> Any:
    with _translated("the model takes or gives a type that is not timed"):
        return port.get_element_type().to_dtype()


def _output(port: Any) -> NDArray[Any] | None:
    """Room for an output; None where its shape is open."""
    return filled_buffer(_shape(port, "output"), _type(port)) if port.partial_shape.is_static else None


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """OpenVINO raises RuntimeError, TypeError and its own, which share no base class of theirs."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:
        raise BackendError(_NAME, f"{what}: {first_line(error)}") from error
