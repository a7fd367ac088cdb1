"""How fast a stage goes and what is left of it, from what this process itself has done. No torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from train.progress.reports import TrainingProgress

_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Images a second over the last minute, and the seconds that the stage will still take.

    None until two reports have been seen.
    """

    images_per_s: float | None = None
    left_s: float | None = None


class Pace:
    """Follows the reports of a run. What another process did before does not count."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._stage: tuple[str, int] | None = None
        self._start = (0.0, 0)
        self._images = 0
        self._recent: deque[tuple[float, int]] = deque()

    def see(self, progress: TrainingProgress) -> Speed:
        """The speed after a report."""
        now = self._clock()
        if self._stage != (progress.stage, progress.total):
            self._stage, self._start, self._images = (progress.stage, progress.total), (now, progress.done), 0
            self._recent.clear()
        else:
            self._images += progress.images
        self._recent.append((now, self._images))
        while len(self._recent) > 2 and now - self._recent[1][0] >= _WINDOW_S:
            self._recent.popleft()
        return Speed(self._rate(now), self._left(now, progress))

    def _rate(self, now: float) -> float | None:
        then, before = self._recent[0]
        return (self._images - before) / (now - then) if now > then and self._images else None

    def _left(self, now: float, progress: TrainingProgress) -> float | None:
        start, done = self._start
        if progress.done <= done:
            return None
        return (progress.total - progress.done) * (now - start) / (progress.done - done)
