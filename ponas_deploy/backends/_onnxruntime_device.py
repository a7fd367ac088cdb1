"""A session of ONNX Runtime whose input and output stay on the device, bound once.

Every run of the runtime waits for the device, unless it was given a stream of the caller's and told not to
(`disable_synchronize_execution_providers`, onnxruntime_run_options_config_keys.h). With a stream the GPU
protocol is that of the other GPU runtimes: the stream is held while K runs are enqueued, and CUDA events see
what they take the GPU. Without one a sample is K runs by the host's clock, each with its launch and its wait.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from time import perf_counter_ns
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import RunSettings
from ponas_deploy.backends._buffers import aligned_buffer, check_images, static_shape
from ponas_deploy.backends._cuda import Cuda
from ponas_deploy.errors import BackendError

# The CUDA provider captures its graph in the third run at the latest.
_WARM_UP_RUNS = 4
_LAUNCH_PROBES = 20
_LEAST_HOLD_NS, _HOLD_MARGIN = 50_000, 1.5
_TYPES: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class Translated(Protocol):
    """Turns the runtime's errors into ours; the text says what was being done."""

    def __call__(self, backend: str, what: str) -> AbstractContextManager[None]: ...


class DeviceSession:
    """A model with its buffers on `device` ("cuda", or "cpu" in tests); see `backends.Session`.

    `cuda` has the stream that the runtime was given; without it every run waits. `launch_ns` is what the host
    needs to enqueue one run: a run that takes the GPU less is bound by its launches when it stands alone. It
    is 0 where every run waits, because launch and run cannot be told apart there.
    """

    minimum_sample_ns = 2_000_000

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
    ) -> None:
        self._backend, self._compiled, self._settings = backend, compiled, settings
        self._translated, self._cuda = translated, cuda
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
        self.launch_ns = 0
        self._run_all(_WARM_UP_RUNS)
        if cuda is not None:
            self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
            self._events = [cuda.call("no event can be made", cuda.api.cudaEventCreate) for _ in "se"]
            self.launch_ns = self._probe_launch(cuda)

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
        if self._cuda is None:
            start = perf_counter_ns()
            self._run_all(runs)
            return perf_counter_ns() - start
        what, cuda, (start_event, end_event) = "failed while being timed", self._cuda, self._events
        cuda.hold_stream(max(_LEAST_HOLD_NS, _HOLD_MARGIN * (runs + 1) * self.launch_ns))
        self._enqueue(1)
        cuda.call(what, cuda.api.cudaEventRecord, start_event, cuda.stream)
        self._enqueue(runs)
        cuda.call(what, cuda.api.cudaEventRecord, end_event, cuda.stream)
        cuda.synchronize(what)
        elapsed_ms = float(cuda.call(what, cuda.api.cudaEventElapsedTime, start_event, end_event))
        return max(1, round(elapsed_ms * 1e6))

    def close(self) -> None:
        """Free the runtime's memory."""
        self._binding = self._input = self._output = self._compiled = None

    def __enter__(self) -> DeviceSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _probe_launch(self, cuda: Cuda) -> int:
        """Nanoseconds the host needs to enqueue a run."""
        start = perf_counter_ns()
        self._enqueue(_LAUNCH_PROBES)
        taken_ns = perf_counter_ns() - start
        cuda.synchronize("failed while being prepared")
        return taken_ns // _LAUNCH_PROBES

    def _run_all(self, runs: int) -> None:
        """Run so often, and wait until all is done."""
        self._enqueue(runs)
        with self._translated(self._backend, "failed while running"):
            self._binding.synchronize_outputs()

    def _enqueue(self, runs: int) -> None:
        run, binding, options = self._open().run_with_iobinding, self._binding, self._options
        with self._translated(self._backend, "failed while running"):
            for _ in range(runs):
                run(binding, options)

    def _open(self) -> Any:
        if self._compiled is None:
            raise BackendError(self._backend, "the session is closed: load the model again.")
        return self._compiled


def _type(backend: str, name: str) -> type[np.floating[Any]]:
    if name not in _TYPES:
        raise BackendError(backend, f"the model takes or gives {name}: only float and half are timed.")
    return _TYPES[name]
