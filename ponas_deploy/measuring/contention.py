"""The contention probe: a fixed piece of arithmetic, timed between samples, that shows who shares the core.

On a shared machine the other half of a physical core may be somebody else's, and for seconds everything takes
1.3 to 1.8 times as long. No counter of the system shows it: nothing is stolen, nothing waits. Arithmetic
within the first cache does, for it takes twice as long then. So a sample is quiet where nobody shared the
core before and after it; else it is contended, and another core is tried, or the sample waits and is taken
again (`Retries`). `docs/measuring.md` has what this is worth.

Nothing but NumPy, which keeps to one thread for matrices of this size.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import TypeVar

import numpy as np

from ponas_deploy.backends import registry
from ponas_deploy.machines.system_files import ROOT
from ponas_deploy.measuring.retries import RETRIES

Value = TypeVar("Value")

SHARED_FACTOR = 1.25
"""A core that takes so much longer than usual is shared: boost clocks differ by less, neighbours by more."""
_SIDE, _RUNS, _REPEATS = 48, 4, 4
_AT_FIRST, _REMEMBERED, _MEMORY = 40, 64, 8192
"""Times of the arithmetic: taken at first, from one estimate of what is usual to the next, kept for it."""
_USUAL_QUANTILE = 0.1
_PAUSE_S, _WARM_S = 0.01, 0.002
"""Of work, for clocks fall in sleep: while it waits, and before the arithmetic is timed on an idle core."""
_CORES_AT_A_TIME = 4
"""So many cores are probed, at most; others the next time."""


@dataclass(frozen=True)
class CoreReading:
    """What was seen of a core so far: nanoseconds of the arithmetic while nobody shares it (0: never probed).

    Of `kept` samples `shared` met a core that was shared, `contended` were kept although it still was.
    """

    usual_ns: float = 0.0
    kept: int = 0
    shared: int = 0
    contended: int = 0

    @property
    def shared_pct(self) -> float:
        """The part of the samples that met a shared core at first."""
        return 100 * self.shared / self.kept if self.kept else 0.0

    @property
    def contended_pct(self) -> float:
        """The part of the samples that were kept although something shared the core."""
        return 100 * self.contended / self.kept if self.kept else 0.0

    def shared_by(self, usual_ns: float) -> bool:
        """Whether what was taken for usual here was a shared core's, when `usual_ns` is what is usual."""
        return self.usual_ns > SHARED_FACTOR * usual_ns

    def __add__(self, later: CoreReading) -> CoreReading:
        """Both together; the later one knows what is usual."""
        return CoreReading(
            later.usual_ns or self.usual_ns,
            self.kept + later.kept,
            self.shared + later.shared,
            self.contended + later.contended,
        )

    def since(self, before: CoreReading) -> CoreReading:
        """What was seen after `before`."""
        return CoreReading(
            self.usual_ns,
            self.kept - before.kept,
            self.shared - before.shared,
            self.contended - before.contended,
        )


def probe_for(backend: str, threads: int, known_ns: float = 0.0) -> ContentionProbe | None:
    """The contention probe for what runs on the processor.

    None for a GPU, which has its own clocks, and where cores are of several kinds: a slow one is not shared.
    """
    if not registry.on_cores_only(backend) or core_kinds() > SHARED_FACTOR:
        return None
    return ContentionProbe(known_ns, threads)


def readings(probe: ContentionProbe | None) -> Callable[[], CoreReading]:
    """What reads the core, where it is probed."""
    return probe.reading if probe else CoreReading


class ContentionProbe:
    """Whether anybody shares the core that this thread runs on; all cores where so many `threads` are timed.

    With more threads than one, and fewer than cores, nobody knows where the others run: this thread's core
    stands for them. `known_ns` is what the arithmetic took earlier on this machine while nobody shared the
    core; without it (0) the fastest tenth of its own times is taken for that. Where the core is shared,
    another one is taken for what runs in this thread alone. `arithmetic` gives nanoseconds.
    """

    def __init__(
        self, known_ns: float = 0.0, threads: int = 1, arithmetic: Callable[[], float] | None = None
    ) -> None:
        self._arithmetic_ns, self._known_ns = arithmetic or Arithmetic(), known_ns
        self._cores = _cores_to_move_to()
        self._movable = threads == 1 and len(self._cores) > 1
        self.changes_core = 1 < len(self._cores) <= threads
        """Whether probing takes this thread over the cores: what runs next finds the caches of another
        one."""
        self._seen_ns = deque((self._arithmetic_ns() for _ in range(_AT_FIRST)), maxlen=_MEMORY)
        self._usual_ns, self._probed, self._wait_s = 0.0, 0, RETRIES.quiet_wait_s
        self._kept = self._shared = self._contended = 0

    def reading(self) -> CoreReading:
        """What was seen so far."""
        return CoreReading(self._usual_ns, self._kept, self._shared, self._contended)

    def is_quiet(self) -> bool:
        """Whether nobody shares the core, or any of those that are timed, now."""
        return not self._find_core(quiet=False) if self.changes_core else self._is_quiet_here()

    def take_quiet(self, take: Callable[[], Value]) -> tuple[Value, bool]:
        """What `take` returns, and whether nobody shared the core before and after it.

        Taken again while somebody did, as long as the time for that lasts. The first one after a pause or on
        another core is discarded: its caches are cold.
        """
        ready = self.is_quiet()
        shared = not ready
        while True:
            start_s = time.monotonic()
            ready = ready or self._wait_for_quiet(take)
            ready_s = time.monotonic()
            value = take()
            quiet = self.is_quiet() and ready
            end_s = time.monotonic()
            # Waiting uses the time up, and so does a contended sample; a quiet one adds its own. Never below
            # 0.
            added_s = (end_s - ready_s) - (ready_s - start_s) if quiet else start_s - end_s
            self._wait_s = min(self._wait_s + added_s, RETRIES.quiet_wait_most_s)
            if quiet or self._wait_s <= 0:
                self._wait_s = max(self._wait_s, 0.0)
                self._kept, self._shared = self._kept + 1, self._shared + (shared or not quiet)
                self._contended += not quiet
                return value, quiet
            ready, shared = False, True

    def _is_quiet_here(self, *, waiting: bool = False) -> bool:
        """Time the arithmetic here. What it takes while waiting says nothing of what is usual."""
        taken_ns = self._arithmetic_ns()
        if not waiting:
            self._seen_ns.append(taken_ns)
            if self._probed % _REMEMBERED == 0:
                own_ns = float(np.quantile(self._seen_ns, _USUAL_QUANTILE))
                self._usual_ns = min(own_ns, self._known_ns or own_ns)
            self._probed += 1
        return taken_ns <= SHARED_FACTOR * self._usual_ns

    def _wait_for_quiet(self, take: Callable[[], object]) -> bool:
        """Wait, or move, until nobody shares the core; False where the time for it is used up."""
        give_up_s = time.monotonic() + self._wait_s
        while not (self._movable and self._find_core(quiet=True)):
            if time.monotonic() > give_up_s:
                return False
            self._work(_PAUSE_S)
            if self._is_quiet_here(waiting=True):
                break
        take()
        return self.is_quiet()

    def _find_core(self, *, quiet: bool) -> bool:
        """Move from core to core until one is quiet, or shared, as asked: whether one was. It is not left."""
        allowed = os.sched_getaffinity(0)
        try:
            for core in list(self._cores)[:_CORES_AT_A_TIME]:
                with suppress(OSError):  # it went offline
                    os.sched_setaffinity(0, {core})
                if quiet:
                    self._work(_WARM_S)
                if self._is_quiet_here(waiting=quiet) is quiet:
                    return True
            return False
        finally:
            os.sched_setaffinity(0, allowed)
            self._cores.rotate(-_CORES_AT_A_TIME)

    def _work(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self._arithmetic_ns()


def _cores_to_move_to() -> deque[int]:
    """The cores this thread may use; none where the system, or a sandbox, does not let it choose."""
    try:
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
    except (AttributeError, OSError):
        return deque()
    return deque(sorted(cores))


def core_kinds(root: Path = ROOT) -> float:
    """How many times as fast the fastest kind of core is as the slowest, as the system says; else 1."""
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        texts = [path.read_text() for path in (root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/{name}")]
        speeds = [float(text) for text in texts if text.strip().isdigit() and int(text)]
        if speeds:
            return max(speeds) / min(speeds)
    return 1.0


class Arithmetic:
    """Products of small matrices, the fastest of a few: one may be interrupted or start with cold caches."""

    def __init__(self) -> None:
        self._a, self._b = np.random.default_rng(0).random((2, _SIDE, _SIDE), dtype=np.float32)
        self._c = np.empty_like(self._a)

    def __call__(self) -> float:
        """Nanoseconds of one product."""
        return min(self._once_ns() for _ in range(_REPEATS))

    def _once_ns(self) -> float:
        start = perf_counter_ns()
        for _ in range(_RUNS):
            np.matmul(self._a, self._b, out=self._c)
        return (perf_counter_ns() - start) / _RUNS
