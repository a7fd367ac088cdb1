"""How well a machine repeats itself, measured in a few seconds with small networks.

In one process by the protocol of a profile, odd against even rounds: what a table can reach. And between
processes, single inferences: what the promise of an engine can hold.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.engines.timing import time_engine
from ponas_deploy.files.scratch import Scratch
from ponas_deploy.measuring.contention import probe_for
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.measuring.protocol import Plan, Samples, first_estimate, measure
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.remote.place import BoardPlace
from ponas_deploy.remote.rounds import Models, Rounds
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
        if isinstance(place, BoardPlace):
            rounds_pct = _between_rounds_there(place, backend, models, deadline)
        else:
            rounds_pct = _between_rounds(backend, models, deadline)
        with Scratch() as folder:
            model = models[f"network {NETWORKS // 2}"]
            engine = place.backend(backend).save(model, RunSettings(), Path(folder))[0]
            timing = time_engine(engine, backend, RunSettings(), place=place)
    p50_ms = timing.percentile_ms(50)
    tail, seconds = timing.percentile_ms(99) / p50_ms, time.monotonic() - start
    return NoiseFloor(backend, rounds_pct, timing.noise_floor_pct, p50_ms, tail, seconds, timing.shared_pct)


def _model(space: Space, place: float) -> bytes:
    """The network of the candidates at a place between the first (0) and the last (1) of every layer."""
    groups = space.groups
    picked = np.array([round(place * (size - 1)) for size in groups.sizes], dtype=np.intp)
    return network_bytes(Architecture.from_indices(space, groups.choices(picked).tolist()), 1)


def _between_rounds(name: str, models: Mapping[str, bytes], deadline: float) -> float:
    backend, samples = get_backend(name), Samples()
    with ExitStack() as stack:
        sessions = {
            key: stack.enter_context(backend.load(model, RunSettings())) for key, model in models.items()
        }
        runs = {key: first_estimate(session, _PLAN)[0] for key, session in sessions.items()}
        probe = probe_for(name, 1)
        measure(sessions, runs, samples, _PLAN, seed=0, sentinel=_FIRST, deadline=deadline, probe=probe)
    return _repeated_pct(samples)


def _between_rounds_there(
    place: BoardPlace, name: str, models: Mapping[str, bytes], deadline: float
) -> float:
    """The same on a board."""
    there, samples = Models(place, name, RunSettings(), _PLAN), Samples()
    built = there.build(
        {key: partial(bytes, model) for key, model in models.items()},
        lambda key, seconds: None,
        lambda text: None,
        one_at_a_time=False,
    )
    runs = {key: first.runs for key, first in built.items()}
    rounds = Rounds(there, runs, samples, _FIRST)
    measure(there.open, runs, samples, _PLAN, seed=0, deadline=deadline, taker=rounds)
    there.close(list(models))
    return _repeated_pct(samples)


def _repeated_pct(samples: Samples) -> float:
    found = [samples.measurement(key) for key in samples.rounds]
    return repeatability(found, choose_statistic(found)).difference_pct
