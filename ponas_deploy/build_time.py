"""How long the models that are still to be built will take, from those that are built already.

Where a runtime picks kernels by timing them (TensorRT, Inductor) a model takes seconds, and building is most
of a profile. The first build also loads the runtime, and later ones find kernels in the timing cache: so the
latest builds count, and the first does not as soon as there are others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

_LATEST = 16
LEAST_BUILDS = 4
"""Fewer say little: nothing is promised from them."""


@dataclass(frozen=True, slots=True)
class BuildEstimate:
    """`left` models at `each_s` seconds."""

    left: int
    each_s: float

    @property
    def seconds(self) -> float:
        """All of them together."""
        return self.left * self.each_s

    @property
    def text(self) -> str:
        """`132 to build at 4.1 s each: about 9 min`."""
        return f"{self.left} to build at {self.each_s:.1f} s each: about {in_time(self.seconds)}"


def estimate(built_s: Sequence[float], left: int) -> BuildEstimate | None:
    """What `left` more models take, after these builds in their order; None before there are LEAST_BUILDS."""
    if len(built_s) < LEAST_BUILDS:
        return None
    return BuildEstimate(left, fmean(built_s[1:][-_LATEST:]))


def in_time(seconds: float) -> str:
    """`45 s`, `9 min`, `2.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
