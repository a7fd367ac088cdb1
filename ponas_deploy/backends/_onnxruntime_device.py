"""A session of ONNX Runtime whose input and output stay on the device, bound once.

Every run of the runtime waits for the device, unless it was given a stream of the caller's and told not to
(`disable_synchronize_execution_providers`, onnxruntime_run_options_config_keys.h). With a stream the protocol
is that of all GPU runtimes (`_gpu_protocol`). Without one a sample is K runs by the host's clock, each with
its launch and its wait.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ponas_deploy.backends._buffers import aligned_buffer, check_images, static_shape
from ponas_deploy.backends._cuda import Cuda
from ponas_deploy.backends._gpu_protocol import EventClock
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The CUDA provider captures its graph in the third run at the latest.
_WARM_UP_RUNS = 4
_TYPES: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class Translated(Protocol):
    """Turns the runtime's errors into ours; the text says what was being done."""

    def __call__(self, backend: str, what: str) -> AbstractContextManager[None]: ...


class DeviceSession:
    """A model with its buffers on `device` ("cuda", or "cpu" in tests); see `backends.Session`.

    `cuda` has the stream that the runtime was given; without it every run waits. `captured` says whether the
    runtime replays a CUDA graph. `launch_ns` is what the host needs to enqueue one run: a run that takes the
    GPU less is bound by its launches when it stands alone. It is 0 where every run waits (`waits`), because
    launch and run cannot be told apart there.
    """

    launch_ns = 0

    def __init__(
        self,
        backend: str,
        runtime: Any,
        compiled: Any,
        settings: RunSettings,
        translated: Translated,
        *,
        device: str = "cuda",
        cuda: Cuda | None = None,
        captured: bool = False,
    ) -> None:
        self._backend, self._compiled, self._settings = backend, compiled, settings
        self._translated, self._cuda = translated, cuda
        self._clock: EventClock | None = None
        self.captured = captured
        source, target = compiled.get_inputs()[0], compiled.get_outputs()[0]
        self._shape = static_shape(backend, source.shape, "input")
        self._type = _type(backend, source.type)
        images = aligned_buffer(self._shape).astype(self._type)
        self._input = runtime.OrtValue.ortvalue_from_numpy(images, device, 0)
        self._output = runtime.OrtValue.ortvalue_from_shape_and_type(
            static_shape(backend, target.shape, "output"), _type(backend, target.type), device, 0
        )
        self._binding = compiled.io_binding()
        self._binding.bind_ortvalue_input(source.name, self._input)
        self._binding.bind_ortvalue_output(target.name, self._output)
        self._options = runtime.RunOptions()
        self._run_all(_WARM_UP_RUNS)
        if cuda is not None:
            self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
            self._clock = EventClock(cuda)
            self._clock.time_launches(self._enqueue)
            self.launch_ns = self._clock.launch_ns

    @property
    def waits(self) -> bool:
        """Whether every run waits for the device: without a stream, or where the runtime does so anyway."""
        return self._clock is None or self._clock.waits

    def settings(self) -> RunSettings:
        """What it was loaded with."""
        self._open()
        return self._settings

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for images of the model's input shape."""
        self._open()
        check_images(self._backend, images, self._shape)
        with self._translated(self._backend, "failed while running"):
            self._input.update_inplace(np.ascontiguousarray(images, dtype=self._type))
            self._binding.synchronize_inputs()
        self._run_all(1)
        if self._cuda is not None:
            self._cuda.synchronize("failed while running")
        with self._translated(self._backend, "failed while running"):
            return np.array(self._output.numpy(), dtype=np.float32)

    def time_ns(self, runs: int) -> int:
        """Nanoseconds of GPU time that `runs` back-to-back runs took; the host's without a stream."""
        self._open()
        if self._clock is None or self._cuda is None:
            start = perf_counter_ns()
            self._run_all(runs)
            return perf_counter_ns() - start
        held = self.captured and self._cuda.fills_queue
        return self._clock.time_ns(self._enqueue, runs, held=held)

    def close(self) -> None:
        """Free the runtime's memory and the events."""
        if self._clock is not None:
            self._clock.close()
        self._binding = self._input = self._output = self._compiled = None

    def __enter__(self) -> DeviceSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run_all(self, runs: int) -> None:
        """Run so often, and wait until all is done."""
        for _ in range(runs):
            self._enqueue()
        with self._translated(self._backend, "failed while running"):
            self._binding.synchronize_outputs()

    def _enqueue(self) -> None:
        run = self._open().run_with_iobinding
        with self._translated(self._backend, "failed while running"):
            run(self._binding, self._options)

    def _open(self) -> Any:
        if self._compiled is None:
            raise BackendError(self._backend, "the session is closed: load the model again.")
        return self._compiled


def _type(backend: str, name: str) -> type[np.floating[Any]]:
    if name not in _TYPES:
        raise BackendError(backend, f"the model takes or gives {name}: only float and half are timed.")
    return _TYPES[name]
