"""A TensorRT engine on the GPU: buffers bound once, a CUDA graph on one stream, timed by CUDA events.

Timed by the protocol of all GPU runtimes (`_gpu_protocol`). Without torch there is no spinning kernel; a host
function that sleeps holds the stream instead (`_cuda`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import prod
from statistics import median
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ponas_deploy.backends._buffers import check_images, static_shape
from ponas_deploy.backends._cuda import Cuda
from ponas_deploy.backends._gpu_protocol import EventClock
from ponas_deploy.backends._tensorrt_build import reason_of
from ponas_deploy.backends._tensorrt_library import Library
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt
    from numpy.typing import NDArray

_WARM_UP_RUNS = 3


@dataclass
class SharedGpu:
    """What all sessions on one GPU share. Sessions run one at a time, on one stream.

    `uncaptured` holds why engines run without a CUDA graph, one reason for each.
    """

    tensorrt: Library
    cuda: Cuda
    log: trt.ILogger
    runtime: trt.Runtime
    uncaptured: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Tensor:
    """An input or an output: device memory that stays where it is."""

    name: str
    shape: tuple[int, ...]
    dtype: type[np.floating[Any]]
    address: int

    @property
    def bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize


class TensorRtSession:
    """An engine with its input and output on the GPU; see `backends.Session`.

    `launch_ns` is what the host needs to enqueue one run: a run that takes the GPU less is bound by its
    launches when it stands alone. `captured` says whether a CUDA graph is replayed.
    """

    launch_ns = 0

    def __init__(self, shared: SharedGpu, serialized: bytes, settings: RunSettings, what: str) -> None:
        self._shared, self._cuda, self._settings = shared, shared.cuda, settings
        self._backend = shared.tensorrt.backend
        self._graph: Any = None
        self._clock: EventClock | None = None
        self._addresses: list[int] = []
        self._context: trt.IExecutionContext | None = None
        self._engine: trt.ICudaEngine | None = shared.runtime.deserialize_cuda_engine(serialized)
        if self._engine is None:
            raise BackendError(
                self._backend,
                f"{what} cannot be read: {reason_of(shared.log)}. Delete it, and build it again here.",
            )
        try:
            self._prepare(self._engine)
        except BaseException:
            self.close()
            raise

    @property
    def captured(self) -> bool:
        """Whether a CUDA graph is replayed; False where a capture failed."""
        return self._graph is not None

    def settings(self) -> RunSettings:
        """What it was loaded with."""
        self._open()
        return self._settings

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for images of the model's input shape."""
        self._open()
        check_images(self._backend, images, self._input.shape)
        what, api, source, target = "failed while running", self._cuda.api, self._input, self._output
        given = np.ascontiguousarray(images, dtype=source.dtype)
        found = np.empty(target.shape, target.dtype)
        call, stream = self._cuda.call, self._cuda.stream
        to_device, to_host = (
            api.cudaMemcpyKind.cudaMemcpyHostToDevice,
            api.cudaMemcpyKind.cudaMemcpyDeviceToHost,
        )
        call(what, api.cudaMemcpyAsync, source.address, given.ctypes.data, source.bytes, to_device, stream)
        self._launch()
        call(what, api.cudaMemcpyAsync, found.ctypes.data, target.address, target.bytes, to_host, stream)
        self._cuda.synchronize(what)
        return found.astype(np.float32)

    def time_ns(self, runs: int) -> int:
        """Nanoseconds of GPU time between the events around `runs` launches."""
        self._open()
        assert self._clock is not None
        held = self.captured and self._cuda.fills_queue
        return self._clock.time_ns(self._launch, runs, held=held)

    def layer_times_ms(self, runs: int = 20) -> tuple[tuple[str, float], ...]:
        """The median milliseconds of each layer of the engine, in its order, from runs of their own.

        With a profiler every layer waits for the one before: the sum is more than a run takes.
        """
        self._open()
        trt = self._shared.tensorrt.load()
        times: dict[str, list[float]] = defaultdict(list)

        class Profiler(trt.IProfiler):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times[layer_name].append(ms)

        profiler = Profiler()
        assert self._engine is not None
        context = self._new_context(self._engine)
        context.profiler = profiler
        context.enqueue_emits_profile = False
        for _ in range(runs):
            self._enqueue(context)
            self._cuda.synchronize("failed while being profiled")
            context.report_to_profiler()
        return tuple((name, median(found)) for name, found in times.items())

    def close(self) -> None:
        """Free the graph, the engine and the buffers; what failed before would only fail here again."""
        api = self._cuda.api
        graph, addresses = self._graph, self._addresses
        self._graph, self._addresses = None, []
        self._context = self._engine = None
        if graph is not None:
            api.cudaGraphExecDestroy(graph)
        if self._clock is not None:
            self._clock.close()
        for address in addresses:
            api.cudaFree(address)

    def __enter__(self) -> TensorRtSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, engine: trt.ICudaEngine) -> None:
        """Bind buffers, warm up, capture, and see what a launch costs the host."""
        self._context = self._new_context(engine)
        self._input, self._output = self._tensors(engine)
        self._clock = EventClock(self._cuda)
        self.run(np.random.default_rng(0).standard_normal(self._input.shape, dtype=np.float32))
        for _ in range(_WARM_UP_RUNS):
            self._launch()
        self._cuda.synchronize("the first run failed")
        self._capture()
        self._clock.time_launches(self._launch)
        self.launch_ns = self._clock.launch_ns

    def _new_context(self, engine: trt.ICudaEngine) -> trt.IExecutionContext:
        context = engine.create_execution_context()
        if context is None:
            raise BackendError(
                self._backend,
                f"the engine cannot be made ready: {reason_of(self._shared.log)}. Where it is memory, take a"
                " smaller batch, or end what else uses the GPU.",
            )
        for tensor in () if self._context is None else (self._input, self._output):
            context.set_tensor_address(tensor.name, tensor.address)
        return context

    def _tensors(self, engine: trt.ICudaEngine) -> tuple[_Tensor, _Tensor]:
        """The one input and the one output, with device memory of their own."""
        trt = self._shared.tensorrt.load()

        assert self._context is not None
        dtypes: dict[Any, type[np.floating[Any]]] = {
            trt.DataType.FLOAT: np.float32,
            trt.DataType.HALF: np.float16,
        }
        inputs: list[_Tensor] = []
        outputs: list[_Tensor] = []
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            shape = static_shape(
                self._backend, tuple(engine.get_tensor_shape(name)), "input" if is_input else "output"
            )
            dtype = dtypes.get(engine.get_tensor_dtype(name))
            if dtype is None:
                raise BackendError(
                    self._backend,
                    f"'{name}' has the type {engine.get_tensor_dtype(name)}: only float and half are read.",
                )
            size = prod(shape) * np.dtype(dtype).itemsize
            address = int(self._cuda.call("no buffer can be made", self._cuda.api.cudaMalloc, size))
            self._addresses.append(address)
            self._context.set_tensor_address(name, address)
            (inputs if is_input else outputs).append(_Tensor(name, shape, dtype, address))
        if len(inputs) != 1 or len(outputs) != 1:
            raise BackendError(
                self._backend,
                f"the engine has {len(inputs)} inputs and {len(outputs)} outputs: one of each is run.",
            )
        return inputs[0], outputs[0]

    def _launch(self) -> None:
        if self._graph is not None:
            api = self._cuda.api
            self._cuda.call("a graph cannot be launched", api.cudaGraphLaunch, self._graph, self._cuda.stream)
        else:
            self._enqueue(self._context)

    def _enqueue(self, context: trt.IExecutionContext) -> None:
        if not context.execute_async_v3(int(self._cuda.stream)):
            raise BackendError(
                self._backend,
                f"a run cannot be started: {reason_of(self._shared.log)}. Load the model again.",
            )

    def _capture(self) -> None:
        """Capture one run; where that fails every run is enqueued, and the backend says so."""
        api, call, stream = self._cuda.api, self._cuda.call, self._cuda.stream
        what, graph = "cannot be captured", None
        try:
            mode = api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
            call(what, api.cudaStreamBeginCapture, stream, mode)
            try:
                self._enqueue(self._context)
            finally:
                code, graph = api.cudaStreamEndCapture(stream)
            self._cuda.check(what, code)
            self._graph = call(what, api.cudaGraphInstantiate, graph, 0)
            self._launch()
            self._cuda.synchronize(what)
        except BackendError as error:
            self._graph = None
            self._cuda.clear_error()
            self._shared.uncaptured.append(error.reason)
            self._enqueue(self._context)
            self._cuda.synchronize("a run failed after its capture had")
        finally:
            if graph is not None:
                api.cudaGraphDestroy(graph)

    def _open(self) -> None:
        if self._context is None:
            raise BackendError(self._backend, "the session is closed: load the model again.")
