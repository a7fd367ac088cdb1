"""The runtimes behind one small door: a backend compiles an ONNX model, a session runs and times it.

To add a runtime, write one file with a class that has what `Backend` asks for, name it in
`_BACKENDS`, and run the contract test over it (`tests/backends/test_contract.py`). Every module here
imports without its runtime; the runtime is imported when the backend is built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a session is compiled for; always explicit, always recorded."""

    precision: str = "fp32"
    threads: int = 1


class Session(Protocol):
    """A compiled model, with its input and output preallocated and bound once. A context manager."""

    def settings(self) -> RunSettings:
        """What the runtime says it was compiled with, asked of the runtime where it answers."""
        ...

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for inputs of the model's shape."""
        ...

    def time_ns(self, runs: int) -> int:
        """Nanoseconds that `runs` back-to-back runs on the bound input took together."""
        ...

    def close(self) -> None:
        """Free the session; it is not used again."""
        ...

    def __enter__(self) -> Session: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Backend(Protocol):
    """A runtime on this machine."""

    name: str

    def precisions(self) -> tuple[str, ...]:
        """The precisions this machine runs natively, the default first."""
        ...

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Versions and settings that a latency depends on, as (name, value)."""
        ...

    def load(self, model: bytes, settings: RunSettings) -> Session:
        """Compile an ONNX model.

        BackendError when the runtime refuses it, UnknownNameError (a PonasError that lists what
        exists) for a precision this machine does not have.
        """
        ...

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """Write the device-tuned engine of an ONNX model into `folder`; the first file opens it."""
        ...

    def open(self, engine: Path, settings: RunSettings) -> Session:
        """A session of an engine that `save` wrote."""
        ...


@runtime_checkable
class Calibrated(Protocol):
    """What a backend has besides where its INT8 scales come from images."""

    def calibrate(self, images: NDArray[np.float32]) -> None:
        """Take scales from these images, (count, 3, height, width) as the network wants them."""
        ...


@runtime_checkable
class TimesLayers(Protocol):
    """What a session has besides where the runtime times the layers of an engine."""

    def layer_times_ms(self) -> tuple[tuple[str, float], ...]:
        """Name and median milliseconds of each layer in order, from runs of their own."""
        ...


@runtime_checkable
class TellsProgress(Protocol):
    """What a backend has besides where it says how far a build is, from any thread."""

    on_progress: OnBuildProgress | None


_BACKENDS = {
    "onnxruntime": "ponas_deploy.backends.onnxruntime:OnnxRuntimeBackend",
    "openvino": "ponas_deploy.backends.openvino:OpenVinoBackend",
    "onnxruntime-cuda": "ponas_deploy.backends.onnxruntime_gpu:cuda",
    "onnxruntime-tensorrt": "ponas_deploy.backends.onnxruntime_gpu:tensorrt",
    "tensorrt": "ponas_deploy.backends.tensorrt:TensorRtBackend",
    "trtexec": "ponas_deploy.backends.trtexec:TrtexecBackend",
    "torch": "ponas_deploy.backends.torch:cuda_graphs",
    "torch-eager": "ponas_deploy.backends.torch:eager",
    "torch-compile": "ponas_deploy.backends.torch:compiled",
    "fake": "ponas_deploy.backends.fake:FakeBackend",
}
FAKE = "fake"
INT8 = "int8"
BACKENDS = ("onnxruntime", "openvino")
"""The runtimes a CPU is profiled with by default."""


def get_backend(name: str, on_build: OnBuildProgress | None = None) -> Backend:
    """The backend called `name`; `on_build` hears how far its builds are, where it tells (`TellsProgress`).

    Raises UnknownNameError that lists the backends, or BackendError with the install line when the
    runtime is not installed.
    """
    if name not in _BACKENDS:
        raise UnknownNameError("backend", name, known_backends())
    module, _, attribute = _BACKENDS[name].partition(":")
    factory: Callable[[], Backend] = getattr(import_module(module), attribute)
    backend = factory()
    if on_build and isinstance(backend, TellsProgress):
        backend.on_progress = on_build
    return backend


def known_backends() -> tuple[str, ...]:
    """The names of all real runtimes, installed or not."""
    return tuple(name for name in _BACKENDS if name != FAKE)
