"""How a torch module runs and is timed: on the CPU by the host's clock, on a GPU by CUDA events.

On a GPU by the protocol of all GPU runtimes (`_gpu_protocol`), with PyTorch's own stream and events; what
holds the stream is a spinning kernel, so that the GPU does not idle and no run is left uncounted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from time import perf_counter_ns
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends._buffers import check_images, first_line
from ponas_deploy.backends._gpu_protocol import (
    LAUNCHES_HOLD_NS,
    hold_ns,
    median_launch_ns,
)
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError

_WARM_UP_RUNS = 3
_LONGEST_HOLD_NS = 1_000_000_000


class SharedGpu:
    """What all sessions on one GPU share: the stream, the graphs' memory, the spinning kernel's speed.

    Sessions run one at a time, so that their graphs can share one pool of intermediate buffers. `uncaptured`
    holds why modules run eagerly, one reason for each.
    """

    def __init__(self, device: Any) -> None:
        torch = import_torch()

        self.device = device
        with torch.cuda.device(device):
            self.stream = torch.cuda.Stream(device)
            self.pool = torch.cuda.graph_pool_handle()
            self._spin: Callable[[int], None] | None = getattr(torch.cuda, "_sleep", None)
            self._cycles_per_ns = self._calibrate() if self._spin else 0.0
        self.uncaptured: list[str] = []

    @property
    def fills_queue(self) -> bool:
        """Whether a kernel spins while launches are enqueued."""
        return self._spin is not None

    def fill(self, time_ns: float) -> None:
        """Keep the current stream busy for about `time_ns`."""
        if self._spin is not None:
            self._spin(int(self._cycles_per_ns * min(time_ns, _LONGEST_HOLD_NS)))

    def _calibrate(self) -> float:
        """Cycles of the spinning kernel in a nanosecond, once the clocks are up."""
        torch = import_torch()

        assert self._spin is not None
        cycles = 20_000_000
        for _ in range(5):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            self._spin(cycles)
            end.record()
            end.synchronize()
        return float(cycles / (start.elapsed_time(end) * 1e6))


class _Session:
    """What both kinds of session have: buffers, and the end of their life."""

    def __init__(
        self, backend: str, settings: RunSettings, forward: Callable[[Any], Any], images: Any
    ) -> None:
        self._backend, self._settings = backend, settings
        self._forward: Callable[[Any], Any] | None = forward
        self._images = images
        self._output: Any = None

    def settings(self) -> RunSettings:
        """What it was loaded with."""
        self._open()
        return self._settings

    def close(self) -> None:
        """Free the module and its buffers."""
        self._forward = self._images = self._output = None

    def _open(self) -> Callable[[Any], Any]:
        if self._forward is None:
            raise BackendError(self._backend, "the session is closed: load the model again.")
        return self._forward

    def _put(self, images: NDArray[np.float32]) -> None:
        torch = import_torch()

        check_images(self._backend, images, tuple(self._images.shape))
        self._images.copy_(torch.from_numpy(np.ascontiguousarray(images)))

    def _taken(self) -> NDArray[np.float32]:
        output: NDArray[np.float32] = self._output.float().cpu().contiguous().numpy()
        return output.copy()


class CpuSession(_Session):
    """A module on the CPU; its threads are set for the whole process each time it runs."""

    launch_ns = 0

    def __init__(
        self, backend: str, settings: RunSettings, forward: Callable[[Any], Any], images: Any
    ) -> None:
        super().__init__(backend, settings, forward, images)
        self._set_threads()
        self._output = forward(images)

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for images of the model's input shape."""
        forward = self._open()
        with _running(self._backend, "failed while running"):
            self._put(images)
            self._set_threads()
            self._output = forward(self._images)
            return self._taken()

    def time_ns(self, runs: int) -> int:
        """Nanoseconds that `runs` back-to-back runs took together."""
        forward, images = self._open(), self._images
        with _running(self._backend, "failed while being timed"):
            self._set_threads()
            start = perf_counter_ns()
            for _ in range(runs):
                forward(images)
            return perf_counter_ns() - start

    def __enter__(self) -> CpuSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set_threads(self) -> None:
        torch = import_torch()

        if torch.get_num_threads() != self._settings.threads:
            torch.set_num_threads(self._settings.threads)


class GpuSession(_Session):
    """A module on a GPU with its input and output there, launched or replayed on one stream.

    `launch_ns` is what the host needs to enqueue one run: a run that takes the GPU less is bound by its
    launches when it stands alone. `captured` says whether a CUDA graph is replayed.
    """

    def __init__(
        self,
        backend: str,
        settings: RunSettings,
        forward: Callable[[Any], Any],
        images: Any,
        shared: SharedGpu,
        *,
        captured: bool,
    ) -> None:
        torch = import_torch()

        super().__init__(backend, settings, forward, images)
        self._shared = shared
        self._graph: Any = None
        torch.cuda.synchronize(shared.device)
        with self._on_stream("cannot prepare the model"):
            for _ in range(_WARM_UP_RUNS):
                self._output = forward(images)
            shared.stream.synchronize()
            if captured:
                self._capture()
            self.launch_ns = self._time_launches()

    @property
    def captured(self) -> bool:
        """Whether a CUDA graph is replayed; False where a capture failed, too."""
        return self._graph is not None

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for images of the model's input shape."""
        self._open()
        with self._on_stream("failed while running"):
            self._put(images)
            self._launch()
            self._shared.stream.synchronize()
            return self._taken()

    def time_ns(self, runs: int) -> int:
        """Nanoseconds of GPU time between the events around `runs` launches."""
        torch = import_torch()

        self._open()
        with self._on_stream("failed while being timed"):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            stream, launch = self._shared.stream, self._launch
            if self.captured:
                self._shared.fill(hold_ns(runs, self.launch_ns))
            start.record(stream)
            for _ in range(runs):
                launch()
            end.record(stream)
            end.synchronize()
            return max(1, round(float(start.elapsed_time(end)) * 1e6))

    def close(self) -> None:
        """Free the graph, the module and its buffers."""
        self._graph = None
        super().close()

    def __enter__(self) -> GpuSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _launch(self) -> None:
        if self._graph is not None:
            self._graph.replay()
        else:
            self._output = self._open()(self._images)

    def _capture(self) -> None:
        """Capture one run; where that fails the session stays eager and the backend says so."""
        torch = import_torch()

        graph = torch.cuda.CUDAGraph()
        shared = self._shared
        try:
            with torch.cuda.graph(graph, pool=shared.pool, stream=shared.stream):
                self._output = self._open()(self._images)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            torch.cuda.synchronize(shared.device)
            shared.uncaptured.append(first_line(error))
            return
        self._graph = graph
        self._launch()

    def _time_launches(self) -> int:
        """Nanoseconds the host needs to enqueue a run, while the GPU is busy with something else."""
        self._shared.stream.synchronize()
        self._shared.fill(LAUNCHES_HOLD_NS)
        found = median_launch_ns(self._launch)
        self._shared.stream.synchronize()
        return found

    @contextmanager
    def _on_stream(self, what: str) -> Iterator[None]:
        torch = import_torch()

        with (
            _running(self._backend, what),
            torch.cuda.device(self._shared.device),
            torch.cuda.stream(self._shared.stream),
            _numerics(self._settings.precision),
        ):
            yield


def import_torch() -> Any:
    """The module, untyped: its annotations differ from release to release."""
    return import_module("torch")


@contextmanager
def translated(backend: str, what: str) -> Iterator[None]:
    """PyTorch's errors as ours: out of memory with what to do, anything else in its first line."""
    torch = import_torch()

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise BackendError(
            backend, f"{what}: the GPU's memory is full. Take a smaller batch, or end what else uses it."
        ) from error
    except (RuntimeError, ValueError, TypeError) as error:
        raise BackendError(backend, f"{what}: {first_line(error)}") from error


@contextmanager
def _running(backend: str, what: str) -> Iterator[None]:
    torch = import_torch()

    with translated(backend, what), torch.inference_mode():
        yield


@contextmanager
def _numerics(precision: str) -> Iterator[None]:
    """cuDNN picks its kernels by timing them; TF32 only where it is asked for. Set back afterwards.

    These are the older of PyTorch's two names for the same switches: 2.4 to 2.15 all have them, and the
    compiler reads them.
    """
    torch = import_torch()

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, *[precision == "tf32"] * 2
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
