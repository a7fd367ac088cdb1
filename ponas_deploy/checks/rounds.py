"""A few models timed by the protocol of a profile: built, then visited round by round, here or on a board."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.streams import loaded
from ponas_deploy.measuring.contention import probe_for, readings
from ponas_deploy.measuring.interference import Interference, take_snapshot
from ponas_deploy.measuring.place import Place
from ponas_deploy.measuring.protocol import Plan, Samples, first_estimate, measure
from ponas_deploy.remote.place import BoardPlace
from ponas_deploy.remote.rounds import Models, Rounds
from ponas_deploy.tables.rounds import InterferenceSummary


def timed_in_rounds(
    place: Place,
    backend: str,
    models: Mapping[str, bytes],
    settings: RunSettings,
    plan: Plan,
    *,
    sentinel: str,
    deadline: float,
    seed: int = 0,
    known_ns: float = 0.0,
    retake: bool = False,
) -> tuple[Samples, InterferenceSummary | None]:
    """The samples of ONNX models, by their keys, and the interference meanwhile where it was looked for.

    `sentinel`, `deadline` (seconds of time.monotonic) and `seed` are as of `measure`, `known_ns` as of
    `ContentionProbe`. With `retake` rounds that others disturbed are taken again.
    """
    samples, interference = Samples(), None
    if isinstance(place, BoardPlace):
        there = Models(place, backend, settings, plan, known_ns)
        makers = {key: partial(bytes, model) for key, model in models.items()}
        first = there.build(makers, lambda key, s: None, lambda text: None, one_at_a_time=False)
        runs = {key: found.runs for key, found in first.items()}
        if retake:
            interference = Interference(plan, there.look)
        taker = Rounds(there, runs, samples, sentinel)
        with there.closing(list(models)):
            measure(
                there.open,
                runs,
                samples,
                plan,
                seed=seed,
                deadline=deadline,
                interference=interference,
                taker=taker,
            )
        return samples, interference.summary() if interference else None
    runtime = place.backend(backend)
    with ExitStack() as stack:
        sessions = {
            key: stack.enter_context(loaded(runtime, model, settings)) for key, model in models.items()
        }
        runs = {key: first_estimate(session, plan)[0] for key, session in sessions.items()}
        probe = probe_for(backend, settings.all_threads, known_ns)
        if retake:
            interference = Interference(plan, partial(take_snapshot, core=readings(probe)))
        measure(
            sessions,
            runs,
            samples,
            plan,
            seed=seed,
            sentinel=sentinel,
            deadline=deadline,
            interference=interference,
            probe=probe,
        )
    return samples, interference.summary() if interference else None
