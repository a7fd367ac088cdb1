"""How many whole networks fit: into the time that is left, and at once into the memory that is free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ponas_deploy.measuring.protocol import Plan

# A session was seen to hold 3.4 times the bytes of its model (ONNX Runtime), and networks differ in size.
_SESSION_BYTES, _MEMORY_SHARE, _LEAST_WAVE = 5, 0.6, 4
_WANTED_ROUNDS = 16
_VISIT_RUNS = 2.2
"""A visit of a session in a round: the sample, the runs before it that are discarded, and retakes."""


@dataclass(frozen=True)
class NetworkTrial:
    """One network built to see what networks take: bytes of its model, seconds to build one, to run once.

    `visit_s` is the least that a visit takes, whatever it runs; 0 where that is next to nothing.
    """

    model_bytes: int
    build_s: float
    run_s: float
    visit_s: float = 0.0

    def wave_size(self, free_mib: int) -> int:
        """How many whole networks fit at once into what is free of the memory."""
        free = _MEMORY_SHARE * free_mib * (1 << 20)
        return max(_LEAST_WAVE, int(free / (_SESSION_BYTES * self.model_bytes)))


def round_s(rough_ns: Iterable[float], plan: Plan, visit_s: float = 0.0) -> float:
    """Seconds that a round over sessions of these run times takes, no visit less than `visit_s`."""
    return sum(max(visit_s, 2 * max(plan.sample_ns, 2 * took_ns) / 1e9) for took_ns in rough_ns)


def affordable(left_s: float, blocks_s: float, trial: NetworkTrial) -> int:
    """How many networks can be built and measured in `left_s`, among blocks of `blocks_s` a round."""
    each_s = trial.build_s + _WANTED_ROUNDS * max(trial.visit_s, _VISIT_RUNS * trial.run_s)
    return int(max(0.0, left_s - _WANTED_ROUNDS * blocks_s) / each_s)


def in_waves(networks: Sequence[str], size: int) -> tuple[tuple[str, ...], ...]:
    """Networks in groups of at most `size`, in a random order, which is always the same.

    They are built in it: what is built first may lie in other memory than the rest, and be slower by 1
    to 2 % (docs/measuring.md), which those to fit on must not have before those to check with.
    """
    ordered = [networks[place] for place in np.random.default_rng(0).permutation(len(networks))]
    groups = -(-len(ordered) // size)
    return tuple(tuple(ordered[number::groups]) for number in range(groups))
