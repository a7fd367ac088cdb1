"""Which runtimes are worth a profile: one network and one block through each say how fast they are.

A profile takes a minute and a machine has several runtimes and precisions. One that is far slower
than another is never chosen, whatever the budget: over 20,000 networks the ratio of two runtimes'
latencies stayed within 11 % of its median on the machine that `profiles/` was measured on. And on a
slow machine there is not the time for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ponas_deploy.backends import RunSettings, Session
from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.backends.streams import loaded
from ponas_deploy.fitting.correction import LEAST_CHECK, LEAST_FIT
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.measuring.protocol import Plan, first_estimate
from ponas_deploy.profiling.models import block_model, blocks_of, network_bytes
from ponas_deploy.tables.latency import Conditions
from searchspace.architecture import Architecture
from searchspace.space import Space

HOPELESS = 1.4
"""A runtime that takes this many times as long as the fastest is not profiled."""
# A visit of a block in a round: the sample, the runs before it that are discarded, and retakes.
_VISITS = 2.2


@dataclass(frozen=True, slots=True)
class RuntimeTrial:
    """What one network said of a runtime: milliseconds a run, and the seconds its profile needs at least."""

    conditions: Conditions
    run_ms: float
    least_s: float


@dataclass(frozen=True, slots=True)
class RuntimeSelection:
    """The runtimes to profile, in this order, and of each other one why not."""

    chosen: tuple[RuntimeTrial, ...]
    set_aside: tuple[tuple[RuntimeTrial, str], ...]


def middle(space: Space) -> Architecture:
    """The network that is tried: the middle candidate of every layer."""
    groups = space.groups
    middle = groups.choices(np.array(groups.sizes, dtype=np.intp) // 2)
    return Architecture.from_indices(space, middle.tolist())


def trial(
    conditions: Conditions,
    space: Space,
    plan: Plan | None = None,
    on_build: OnBuildProgress | None = None,
    place: Place = HERE,
) -> RuntimeTrial:
    """Build and run one network and one block; BackendError where the runtime refuses them."""
    plan = plan or Plan()
    backend = place.backend(conditions.backend, on_build)
    settings = RunSettings(conditions.precision, conditions.threads, conditions.streams)

    def looked(model: bytes) -> tuple[float, float]:
        """Seconds to build, and to run once."""
        start = time.monotonic()
        with loaded(backend, model, settings) as session:
            built_s = time.monotonic() - start
            return built_s, _fastest_s(session, plan)

    key, block = list(blocks := blocks_of(space).items())[len(blocks) // 2]
    model = block_model(key, block, conditions.batch, space.name)
    looked(model)  # the runtime itself is loaded here
    block_s, run_block_s = looked(model)
    start = time.monotonic()
    network = network_bytes(middle(space), conditions.batch)
    written_s = time.monotonic() - start
    build_s, run_s = looked(network)
    networks = LEAST_FIT + LEAST_CHECK
    round_s = len(blocks) * max(plan.sample_ns / 1e9, run_block_s) + networks * run_s
    least_s = len(blocks) * block_s + networks * (written_s + build_s) + plan.floor_rounds * _VISITS * round_s
    return RuntimeTrial(conditions, 1000 * run_s, least_s)


def _fastest_s(session: Session, plan: Plan) -> float:
    return min(first_estimate(session, plan)[1] for _ in range(3)) / 1e9


def select(
    trials: Sequence[RuntimeTrial], time_s: float, *, known_ms: float | None = None
) -> RuntimeSelection:
    """Which runtimes to profile in `time_s` altogether: the fastest first, hopeless ones never.

    `known_ms` is what the same network takes through the fastest runtime that has a table already.
    Without one at least one runtime is chosen: the fastest that the time is enough for, or the one that
    needs the least time.
    """
    ordered = sorted(trials, key=lambda trial: trial.run_ms)
    fastest_ms = min([*(trial.run_ms for trial in ordered[:1]), *([known_ms] if known_ms else [])], default=0)
    chosen, aside, left_s = list[RuntimeTrial](), list[tuple[RuntimeTrial, str]](), time_s
    if known_ms is None and ordered:
        first = next((trial for trial in ordered if trial.least_s <= time_s), None)
        chosen.append(first or min(ordered, key=lambda trial: trial.least_s))
        left_s -= chosen[0].least_s
    for trial in ordered:
        if trial in chosen:
            continue
        if trial.run_ms > HOPELESS * fastest_ms:
            aside.append(
                (trial, f"a network took {trial.run_ms / fastest_ms:.1f} times as long as in the fastest")
            )
        elif trial.least_s > left_s:
            aside.append((trial, f"the time is short: its profile alone takes about {trial.least_s:.0f} s"))
        else:
            chosen.append(trial)
            left_s -= trial.least_s
    return RuntimeSelection(tuple(chosen), tuple(aside))
