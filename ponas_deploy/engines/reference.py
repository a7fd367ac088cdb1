"""A small fixed network, timed in turn with an engine: so a slower machine is told from a slower engine.

An engine that takes longer than when it was emitted is slower itself (another runtime, other settings), or
the machine is. The network is always the same under its name, is compiled by the engine's own runtime at its
precision and threads, and takes about a millisecond: what it takes now over what it took then is how much
slower the machine is, and what is left of the engine's own ratio is the engine's. It is stored nowhere: it is
built from its description, in milliseconds where a runtime compiles at once. One that searches its kernels
takes seconds for that, and is timed without.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from ponas_deploy.backends import registry
from ponas_deploy.files.bounds import AboveZero
from ponas_deploy.profiling.models import quick_weights
from ponas_deploy.tables.quality import DRIFT_PCT
from searchspace.blocks import mbconv
from searchspace.ops import Op, Shape, parameters

NAME = "mbconv-16x32x32-2"
"""Under a name neither the operations below nor how they are timed change: a manifest that names another one
is not compared."""
_SHAPE: Shape = (16, 32, 32)
_BLOCKS = ((16, 32, 2, 3, 6), (32, 32, 1, 5, 3), (32, 64, 2, 5, 6), (64, 64, 1, 3, 6))
"""Channels in and out, stride, kernel size, expansion ratio."""


@dataclass(frozen=True, slots=True)
class ReferenceTiming:
    """What the network called `name` took beside an engine: the median nanoseconds of each process."""

    name: str
    processes_ns: tuple[AboveZero, ...]

    @property
    def ns(self) -> float:
        """The median of all processes."""
        return median(self.processes_ns)

    @property
    def spread_pct(self) -> float:
        """How far the processes lie apart, in percent of the smallest."""
        return 100 * (max(self.processes_ns) / min(self.processes_ns) - 1)


def together(first: ReferenceTiming | None, later: ReferenceTiming | None) -> ReferenceTiming | None:
    """Both as one, where both were timed by the same network."""
    if first is None or later is None or first.name != later.name:
        return None
    return ReferenceTiming(first.name, (*first.processes_ns, *later.processes_ns))


@dataclass(frozen=True, slots=True)
class Change:
    """What changed from one measurement of an engine to a later one: factors of time, above 1 is slower.

    `machine` by the reference network, `engine` what the machine does not explain. Up to `noise_pct` neither
    says anything.
    """

    machine: float
    engine: float
    noise_pct: float

    @property
    def text(self) -> str:
        """A sentence, where either became slower or faster beyond the noise; else empty."""
        of_machine, of_engine = self._in_words(self.machine), self._in_words(self.engine)
        if not of_machine and not of_engine:
            return ""
        machine = f"{of_machine} than" if of_machine else f"as fast ({self.machine:.2f}) as"
        because = " (another runtime, or other settings?)" if self.engine > 1 else ""
        itself = (
            f"{of_engine} than that explains{because}" if of_engine else f"not slower ({self.engine:.2f})"
        )
        return f"The machine is {machine} when the engine was emitted; the engine itself is {itself}."

    def _in_words(self, factor: float) -> str:
        """`1.31 times slower`; empty within the noise."""
        most = 1 + self.noise_pct / 100
        if factor > most:
            return f"{factor:.2f} times slower"
        return f"{1 / factor:.2f} times faster" if 1 / factor > most else ""


def change(then: ReferenceTiming | None, now: ReferenceTiming | None, engine_factor: float) -> Change | None:
    """What changed, where the engine takes `engine_factor` times what it took then.

    None where the two were not timed beside the same network.
    """
    if then is None or now is None or then.name != now.name:
        return None
    machine = now.ns / then.ns
    noise_pct = max(DRIFT_PCT, then.spread_pct, now.spread_pct)
    return Change(machine, engine_factor / machine, noise_pct)


def serves(backend: str) -> bool:
    """Whether a runtime builds the network in no time, on the cores."""
    return registry.on_cores_only(backend)


def reference_model() -> bytes:
    """The network as an ONNX model, batch 1."""
    from searchspace.graph import model

    parts = [(f"block{place}", _ops(*block)) for place, block in enumerate(_BLOCKS)]
    weights = quick_weights(one for prefix, ops in parts for one in parameters(ops, prefix))
    return bytes(model(parts, _SHAPE, weights, 1, NAME).SerializeToString())


def _ops(inputs: int, outputs: int, stride: int, kernel: int, expansion: int) -> tuple[Op, ...]:
    return mbconv(inputs, outputs, stride, kernel, expansion, squeeze_excite=False)
