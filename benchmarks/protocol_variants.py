"""What cannot be compared afterwards: how long samples are, what is discarded and redone, which core runs
them.

All variants time the same sessions in one process, a round of one after a round of another, each for the same
time: a variant whose rounds are longer has fewer of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.protocol_data import RAW, Raw, Record, Shop, Target, furnish
from ponas_deploy.backends import Backend, RunSettings, get_backend
from ponas_deploy.measuring.contention import probe_for
from ponas_deploy.measuring.interference import Interference, take_snapshot
from ponas_deploy.measuring.protocol import Plan, measure, sample_runs
from searchspace import build_space

_ONE = replace(RAW, min_rounds=1, max_rounds=1, floor_rounds=1)


@dataclass(frozen=True, slots=True)
class Variant:
    """A plan, whether all threads are kept on the last core meanwhile, and whether contention of the core
    is probed.
    """

    name: str
    plan: Plan
    pinned: bool = False
    probed: bool = True


VARIANTS = (
    Variant("as it is", _ONE),
    Variant("samples of 0.3 ms", replace(_ONE, sample_ns=300_000)),
    Variant("samples of 4 ms", replace(_ONE, sample_ns=4_000_000)),
    Variant("nothing discarded", replace(_ONE, discarded_runs=0)),
    Variant("three runs discarded", replace(_ONE, discarded_runs=3)),
    Variant("interrupted samples kept", replace(_ONE, retakes=0)),
    Variant("sentinel, visits redone", replace(_ONE, sentinel_visits=24, redone_pct=25.0)),
    Variant("pinned to a core", _ONE, pinned=True),
    Variant("whoever shares the core", _ONE, probed=False),
)


def vary(target: Target, backend: Backend | None = None) -> dict[str, Raw]:
    """The rounds of each variant, by its name."""
    start, space = time.monotonic(), build_space("ponas", target.resolution)
    runtime = backend or get_backend(target.backend)
    with ExitStack() as stack:
        shop = Shop(runtime, RunSettings(target.precision, target.threads), stack)
        furnish(shop, space, target)
        keys = tuple(shop.sessions)
        records = {variant.name: Record(keys) for variant in VARIANTS}
        probe = probe_for(target.backend, target.threads)
        interferences = {variant.name: Interference(RAW, take_snapshot) for variant in VARIANTS}
        used = dict.fromkeys(records, 0.0)
        while time.monotonic() < start + target.seconds or min(one.rounds for one in records.values()) < 4:
            variant = min(VARIANTS, key=lambda one: used[one.name])
            record = records[variant.name]
            begun = time.monotonic()
            with _on_core(variant.pinned):
                measure(
                    shop.sessions,
                    {key: sample_runs(shop.rough_ns[key], variant.plan) for key in keys},
                    record.samples,
                    variant.plan,
                    seed=target.seed,
                    sentinel=shop.networks()[len(shop.networks()) // 2],
                    deadline=float("inf"),
                    first_round=record.rounds,
                    on_visit=record.before,
                    interference=interferences[variant.name],
                    probe=probe if variant.probed else None,
                )
            record.rounds += 1
            used[variant.name] += time.monotonic() - begun
        return {name: one.raw(keys, 0, interferences[name], shop.build_s) for name, one in records.items()}


@contextmanager
def _on_core(pinned: bool) -> Iterator[None]:
    """All threads of this process on the last core, where it is asked for and the system can."""
    if not (pinned and hasattr(os, "sched_setaffinity")):
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        _move({max(before)})
        yield
    finally:
        _move(before)


def _move(cores: set[int]) -> None:
    for task in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)
