"""The GPU protocol, said once: K launches on one stream between two CUDA events, the queue filled before.

The stream is held while launches are enqueued, so that the events see the GPU's time and not how fast Python
launches. Not where a model could not be captured in a CUDA graph: its launches are what its users wait for.
`EventClock` times through `cuda-bindings`; PyTorch brings events, stream and a spinning kernel of its own and
shares the numbers (`_torch_sessions`).
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter_ns
from typing import Any

from ponas_deploy.backends._cuda import Cuda

ONE_STREAM = ("streams", "1")
"""For every environment: no number here is of runs that overlap."""
GRAPH = "CUDA graph"
TIMED_LAUNCHES, LAUNCHES_HOLD_NS = 20, 2_000_000
LEAST_HOLD_NS, HOLD_MARGIN = 50_000, 1.5


def hold_ns(runs: int, launch_ns: float) -> float:
    """How long the stream is held while `runs` are enqueued."""
    return max(LEAST_HOLD_NS, HOLD_MARGIN * runs * launch_ns)


def median_launch_ns(launch: Callable[[], None]) -> int:
    """Nanoseconds the host needs to enqueue a run; the caller holds the stream and waits afterwards."""
    taken = []
    for _ in range(TIMED_LAUNCHES):
        start = perf_counter_ns()
        launch()
        taken.append(perf_counter_ns() - start)
    return round(median(taken))


class EventClock:
    """Two events on the stream of `cuda`, and what the host needs to launch a run there (`launch_ns`)."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.launch_ns = 0
        create = cuda.api.cudaEventCreate
        self._events: list[Any] = [cuda.call("no event can be made", create) for _ in ("start", "end")]

    def time_launches(self, launch: Callable[[], None]) -> None:
        """See what a launch costs the host, while the stream is held."""
        self._cuda.hold_stream(LAUNCHES_HOLD_NS)
        self.launch_ns = median_launch_ns(launch)
        self._cuda.synchronize("failed while launches were timed")

    def time_ns(self, launch: Callable[[], None], runs: int, *, held: bool) -> int:
        """Nanoseconds of GPU time between the events around `runs` launches.

        The GPU idles while the stream is held, so that one run that is not counted follows that.
        """
        what, cuda, (start, end) = "failed while being timed", self._cuda, self._events
        if held:
            cuda.hold_stream(hold_ns(runs + 1, self.launch_ns))
            launch()
        cuda.call(what, cuda.api.cudaEventRecord, start, cuda.stream)
        for _ in range(runs):
            launch()
        cuda.call(what, cuda.api.cudaEventRecord, end, cuda.stream)
        cuda.synchronize(what)
        return max(1, round(float(cuda.call(what, cuda.api.cudaEventElapsedTime, start, end)) * 1e6))

    def close(self) -> None:
        """Free the events; what failed before would only fail here again."""
        events, self._events = self._events, []
        for event in events:
            self._cuda.api.cudaEventDestroy(event)
