"""How well a machine repeats itself, measured in a few seconds with small networks.

In one process by the protocol of a profile, odd against even rounds: what a table can reach. And between
processes, single inferences: what the promise of an engine can hold.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ponas_deploy.backends import RunSettings
from ponas_deploy.checks.rounds import timed_in_rounds
from ponas_deploy.engines.timing import time_engine
from ponas_deploy.files.scratch import Scratch
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.measuring.protocol import Plan, Samples
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.tables import store
from ponas_deploy.tables.statistics import choose_statistic, repeatability
from searchspace.architecture import Architecture
from searchspace.space import Space
from searchspace.spaces import build_space

NETWORKS, ROUNDS = 6, 16
RESOLUTION = 32
_PLAN = Plan(min_rounds=ROUNDS, max_rounds=ROUNDS)
_AT_MOST_S = 5.0
_FIRST = "network 0"


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """What repeating differs by, in percent.

    `rounds_pct` is the mean over networks between odd and even rounds in one process, by the statistic that
    repeats best; `processes_pct` how far the medians of several processes lie apart. `tail` is the 99th over
    the 50th percentile of single inferences. `shared_pct` of those found their core shared at first.
    """

    backend: str
    rounds_pct: float
    processes_pct: float
    p50_ms: float
    tail: float
    seconds: float
    shared_pct: float = 0.0


def measure_noise_floor(backend: str, space: Space | None = None, place: Place = HERE) -> NoiseFloor:
    """Measure it; MeasurementError when somebody else is measuring, BackendError without the runtime."""
    start = time.monotonic()
    space = space or build_space("ponas", RESOLUTION)
    models = {f"network {one}": _model(space, one / (NETWORKS - 1)) for one in range(NETWORKS)}
    with place.to_oneself(store.lock_path(), "the noise floor, for the doctor"):
        deadline = start + _AT_MOST_S
        samples, _ = timed_in_rounds(
            place, backend, models, RunSettings(), _PLAN, sentinel=_FIRST, deadline=deadline
        )
        with Scratch() as folder:
            model = models[f"network {NETWORKS // 2}"]
            engine = place.backend(backend).save(model, RunSettings(), Path(folder))[0]
            timing = time_engine(engine, backend, RunSettings(), place=place)
    p50_ms = timing.percentile_ms(50)
    tail, seconds = timing.percentile_ms(99) / p50_ms, time.monotonic() - start
    rounds_pct, processes_pct = _repeated_pct(samples), timing.noise_floor_pct
    return NoiseFloor(backend, rounds_pct, processes_pct, p50_ms, tail, seconds, timing.shared_pct)


def _model(space: Space, place: float) -> bytes:
    """The network of the candidates at a place between the first (0) and the last (1) of every layer."""
    groups = space.groups
    picked = np.array([round(place * (size - 1)) for size in groups.sizes], dtype=np.intp)
    return network_bytes(Architecture.from_indices(space, groups.choices(picked).tolist()), 1)


def _repeated_pct(samples: Samples) -> float:
    found = [samples.measurement(key) for key in samples.rounds]
    return repeatability(found, choose_statistic(found)).difference_pct
