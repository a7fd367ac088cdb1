"""How many whole networks fit: into the time that is left, and at once into the memory that is free.

What they take of the host's memory is counted by their model, what they take of a GPU's is measured on one of
them. Where that was too much all the same, fewer are tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Tuple

import numpy as np

from ponas_deploy.errors import BackendError
from ponas_deploy.machines.processes import lacks_memory
from ponas_deploy.measuring.protocol import Plan

# A session was seen to hold 3.4 times the bytes of its model (ONNX Runtime), and networks differ in size.
_SESSION_BYTES, _MEMORY_SHARE, _LEAST_WAVE = 5, 0.6, 4
_WANTED_ROUNDS = 16
Waves = Tuple[Tuple[str, ...], ...]
_VISIT_RUNS = 2.2
"""A visit of a session in a round: the sample, the runs before it that are discarded, and retakes."""


@dataclass(frozen=True)
class NetworkTrial:
    """One network built to see what networks take: bytes of its model, seconds to build one, to run once.

    `visit_s` is the least that a visit takes, whatever it runs; 0 where that is next to nothing.
    `working_bytes` are those of its largest input and output at the batch, `gpu_bytes` is what less was free
    of a GPU's memory with it; 0 where nothing says that. Each of the `streams` may hold a session of its own.
    """

    model_bytes: int
    build_s: float
    run_s: float
    visit_s: float = 0.0
    working_bytes: int = 0
    gpu_bytes: int = 0
    streams: int = 1

    def wave_size(self, free_mib: int, free_gpu_bytes: int | None = None, failures: int = 0) -> int:
        """How many whole networks fit at once into what is free of the memory, and of a GPU's where it tells.

        Half as many for each of `failures`, processes that got no memory.
        """
        each = self.streams * (_SESSION_BYTES * self.model_bytes + self.working_bytes)
        size = int(_MEMORY_SHARE * free_mib * (1 << 20) / each)
        if free_gpu_bytes is not None:
            on_gpu = self.gpu_bytes or self.model_bytes + self.working_bytes
            size = min(size, int(_MEMORY_SHARE * free_gpu_bytes / on_gpu))
        return max(1, max(_LEAST_WAVE, size) >> failures)


def round_s(rough_ns: Iterable[float], plan: Plan, visit_s: float = 0.0) -> float:
    """Seconds that a round over sessions of these run times takes, no visit less than `visit_s`."""
    return sum(max(visit_s, 2 * max(plan.sample_ns, 2 * took_ns) / 1e9) for took_ns in rough_ns)


def affordable(left_s: float, blocks_s: float, trial: NetworkTrial) -> int:
    """How many networks can be built and measured in `left_s`, among blocks of `blocks_s` a round."""
    each_s = trial.build_s + _WANTED_ROUNDS * max(trial.visit_s, _VISIT_RUNS * trial.run_s)
    return int(max(0.0, left_s - _WANTED_ROUNDS * blocks_s) / each_s)


def smaller_after(error: BackendError, waves: Waves, number: int) -> Waves:
    """The waves with that of a `number` and those behind it halved, because it got too little memory.

    The error itself is raised where it is another one, or there is nothing to halve.
    """
    if not lacks_memory(str(error)) or len(waves[number]) == 1:
        raise error
    halves = (half for wave in waves[number:] for half in (wave[::2], wave[1::2]))
    return (*waves[:number], *filter(None, halves))


def in_waves(networks: Sequence[str], size: int) -> tuple[tuple[str, ...], ...]:
    """Networks in groups of at most `size`, in a random order, which is always the same.

    They are built in it: what is built first may lie in other memory than the rest, and be slower by 1
    to 2 % (docs/measuring.md), which those to fit on must not have before those to check with.
    """
    ordered = [networks[place] for place in np.random.default_rng(0).permutation(len(networks))]
    groups = -(-len(ordered) // size)
    return tuple(tuple(ordered[number::groups]) for number in range(groups))
