"""The GPU protocol, said once: K launches on one stream between two CUDA events, the queue filled before.

The stream is held while launches are enqueued, so that the events see the GPU's time and not how fast Python
launches. Not where a model could not be captured in a CUDA graph: its launches are what its users wait for.
Nor where each launch waits for its run, as graphs do that ONNX Runtime's TensorRT provider replays: held or
not, its runs are launched one after another. The driver's queue takes about a thousand launches; whoever
enqueues more waits for the GPU, so that a sample of more is timed in parts.
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
MOST_ENQUEUED, LEAST_ENQUEUED = 512, 16
"""Launches that are enqueued behind one hold: at most to begin with, and where fewer are not tried."""
_WAIT_TRIES = 3


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
    """Two events on the stream of `cuda`, and what the host needs to launch a run there (`launch_ns`).

    `waits` is whether each launch returns when its run is over; then `launch_ns` is 0, because launch and run
    cannot be told apart. `most` is how many launches are enqueued behind one hold.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.launch_ns, self.waits, self.most = 0, False, MOST_ENQUEUED
        create = cuda.api.cudaEventCreate
        self._events: list[Any] = [cuda.call("no event can be made", create) for _ in ("start", "end")]

    def time_launches(self, launch: Callable[[], None]) -> None:
        """See whether a launch waits, else what it costs the host, while the stream is held."""
        self.waits = self._cuda.fills_queue and self._launch_waits(launch)
        if self.waits:
            return
        self._cuda.hold_stream(LAUNCHES_HOLD_NS)
        self.launch_ns = median_launch_ns(launch)
        self._cuda.synchronize("failed while launches were timed")

    def time_ns(self, launch: Callable[[], None], runs: int, *, held: bool) -> int:
        """Nanoseconds of GPU time between the events around `runs` launches.

        The GPU idles while the stream is held, so that one run that is not counted follows that. Where the
        GPU began before the last launch was enqueued, the sample is taken again, and then in smaller parts.
        """
        if not held or self.waits:
            return self._between(launch, runs, held=False)[0]
        taken_ns, left, tries = 0, runs, 0
        while left:
            count = min(left, self.most)
            found_ns, enqueued = self._between(launch, count, held=True)
            tries += 1
            if not enqueued and (tries == 1 or count > LEAST_ENQUEUED):
                if tries > 1:  # once the host may have been held up
                    self.most, tries = max(LEAST_ENQUEUED, count // 2), 0
                continue
            taken_ns, left, tries = taken_ns + found_ns, left - count, 0
        return taken_ns

    def _launch_waits(self, launch: Callable[[], None]) -> bool:
        """Whether a launch takes as much longer as the stream is held; one that is just slow does not."""
        if self._launched_ns(launch, LAUNCHES_HOLD_NS) < LAUNCHES_HOLD_NS:
            return False
        held, free = (
            min(self._launched_ns(launch, time_ns) for _ in range(_WAIT_TRIES))
            for time_ns in (LAUNCHES_HOLD_NS, 0)
        )
        return held - free > LAUNCHES_HOLD_NS / 2

    def _launched_ns(self, launch: Callable[[], None], held_ns: int) -> int:
        """The host's nanoseconds until a launch returned, on a stream that is held for so long."""
        start = perf_counter_ns()
        if held_ns:
            self._cuda.hold_stream(held_ns)
        launch()
        taken_ns = perf_counter_ns() - start
        self._cuda.synchronize("failed while launches were timed")
        return taken_ns

    def _between(self, launch: Callable[[], None], runs: int, *, held: bool) -> tuple[int, bool]:
        """Nanoseconds between the events, and whether all was enqueued before the GPU began."""
        what, cuda, (start, end) = "failed while being timed", self._cuda, self._events
        if held:
            cuda.hold_stream(hold_ns(runs + 1, self.launch_ns))
            launch()
        cuda.call(what, cuda.api.cudaEventRecord, start, cuda.stream)
        for _ in range(runs):
            launch()
        cuda.call(what, cuda.api.cudaEventRecord, end, cuda.stream)
        enqueued = not (held and cuda.is_done(start))
        cuda.synchronize(what)
        taken_ms = float(cuda.call(what, cuda.api.cudaEventElapsedTime, start, end))
        return max(1, round(taken_ms * 1e6)), enqueued

    def close(self) -> None:
        """Free the events; what failed before would only fail here again."""
        events, self._events = self._events, []
        for event in events:
            self._cuda.api.cudaEventDestroy(event)
