"""How long all that is still to be built will take, blocks and whole networks, from what is built already.

Where a runtime picks kernels by timing them (TensorRT, Inductor) a model takes seconds, and building is most
of a profile. The first build also loads the runtime, and later ones find kernels in the timing cache: so the
latest builds count, and the first never does. A network takes as long as its layers do one by one, until one
was built: that is the most it can take where kernels are remembered. Before anything is built, the last
profile of the runtime on this machine says what to expect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean

from ponas_deploy.tables.measured_how import BuildSummary

_LATEST = 16
_LEAST = 2
"""Fewer say little: nothing is estimated from them. The first build of all is not among them."""


@dataclass(frozen=True, slots=True)
class BuildTimes:
    """Seconds that a block and that a whole network take to build."""

    block_s: float
    network_s: float

    @classmethod
    def of(cls, builds: BuildSummary | None) -> BuildTimes | None:
        """What a table's protocol says of it (`Builds.summary`); None where it says nothing usable."""
        if builds is None or not builds.block_s or not builds.network_s:
            return None
        return cls(builds.block_s, builds.network_s)


@dataclass(frozen=True, slots=True)
class BuildEstimate:
    """What is still to be built, and the seconds that one of each takes."""

    blocks: int
    networks: int
    each: BuildTimes

    @property
    def seconds(self) -> float:
        """All of them together."""
        return self.blocks * self.each.block_s + self.networks * self.each.network_s

    @property
    def text(self) -> str:
        """`130 blocks at 4.1 s and 29 networks at 20.0 s to build: about 19 min`."""
        parts = ((self.blocks, "blocks", self.each.block_s), (self.networks, "networks", self.each.network_s))
        what = " and ".join(f"{left} {kind} at {each_s:.1f} s" for left, kind, each_s in parts if left)
        return f"{what or 'nothing'} to build: about {in_time(self.seconds)}"


@dataclass(slots=True)
class Builds:
    """What models took to build, and how many are still to be built.

    `layers` are those of a network of the space. `before` is what an earlier profile of the runtime on this
    machine recorded. `networks_left` is the least there can be, until it is known how many there is time for.
    """

    layers: int
    before: BuildTimes | None = None
    blocks_left: int = 0
    networks_left: int = 0
    blocks_s: list[float] = field(default_factory=list)
    networks_s: list[float] = field(default_factory=list)
    first: str = ""
    """The first estimate that was reported, and after how many builds."""
    _loading: bool = True
    _total_s: float = 0.0

    @property
    def done(self) -> int:
        """How many models were built."""
        return len(self.blocks_s) + len(self.networks_s) + (not self._loading)

    @property
    def left(self) -> int:
        """How many models are still to be built."""
        return self.blocks_left + self.networks_left

    @property
    def left_s(self) -> float:
        """Seconds that building them takes, by the estimate; 0 where there is none."""
        found = self.estimate()
        return found.seconds if found else 0.0

    def add(self, seconds: float, *, network: bool) -> None:
        """A model was built."""
        self._total_s += seconds
        if network:
            self.networks_left = max(0, self.networks_left - 1)
        else:
            self.blocks_left = max(0, self.blocks_left - 1)
        if self._loading:
            self._loading = False
            return
        (self.networks_s if network else self.blocks_s).append(seconds)

    def estimate(self) -> BuildEstimate | None:
        """What is left and what it takes; None before there are enough builds, here or in `before`."""
        each = self._each()
        return BuildEstimate(self.blocks_left, self.networks_left, each) if each else None

    def keep(self, found: BuildEstimate) -> None:
        """An estimate that was reported: the first one goes into the protocol."""
        self.first = self.first or f"{found.text}, after {self.done} builds"

    def summary(self) -> BuildSummary:
        """What building took, and what was estimated at first, for a table's protocol."""
        each = self._each()
        return BuildSummary(
            total_s=round(self._total_s, 1),
            block_s=round(each.block_s, 4) if each else None,
            network_s=round(each.network_s, 4) if each else None,
            estimate=self.first,
        )

    def _each(self) -> BuildTimes | None:
        """Of both kinds by the latest builds; where only one was built, the other by their ratio."""
        if len(self.blocks_s) + len(self.networks_s) < _LEAST:
            return self.before
        blocks, networks = self.blocks_s[-_LATEST:], self.networks_s[-_LATEST:]
        ratio = self.before.network_s / self.before.block_s if self.before else float(self.layers)
        block_s = fmean(blocks) if blocks else fmean(networks) / ratio
        return BuildTimes(block_s, fmean(networks) if networks else block_s * ratio)


def in_time(seconds: float) -> str:
    """`45 s`, `9 min`, `2.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
