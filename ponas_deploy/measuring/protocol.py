"""The measuring protocol: how long a session takes, said in a way that can be repeated.

Everything is visited once a round, in a fresh random order, so that slow drift hits all alike
(google/benchmark measured 40 % less variance from that alone). A sample is enough back-to-back runs
to last a millisecond, after discarded ones. A sentinel visited now and then notices when the machine
changes, and that stretch is measured again. Every round's value is kept; the statistic is chosen
afterwards, by how well it repeats.

Only the standard library, NumPy and the backend: this runs on a small board as it is.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from math import ceil
from typing import Protocol

import numpy as np

from ponas_deploy.backends import Session
from ponas_deploy.tables.measurement import Measurement

try:
    import resource
except ImportError:  # Windows: interruptions go unnoticed there.
    resource = None  # type: ignore[assignment]

_HELD_UP_AT_MOST = 4
_PAUSES_A_ROUND = 8
"""Before a round is taken again: so many of the pauses that a visit waits for at first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure. Times in nanoseconds or seconds, thresholds in percent, as the names say."""

    sample_ns: int = 1_000_000
    discarded_runs: int = 1
    min_rounds: int = 10
    max_rounds: int = 40
    retakes: int = 3
    """How often a sample that was interrupted is taken again."""
    floor_rounds: int = 5
    """The fewest rounds ever, however short the time."""
    settled_pct: float = 1.0
    settled_ns: float = 1_000.0
    sentinel_visits: int = 24
    drift_pct: float = 3.0
    redone_pct: float = 25.0
    """The most visits that may be measured again, and the most rounds."""
    pause_s: float = 0.05
    stalled_ns: int = 250_000_000
    """A sample so much longer than three times the runs before it was held up, and is taken again."""
    most_others_pct: float = 20.0
    """A round is wrong when other processes used more than this share of the cores."""
    most_stolen_pct: float = 5.0
    """... when a hypervisor took more."""
    most_quota_pct: float = 2.0
    """... when a container's quota held it up for a larger part of the time."""
    most_clock_drop_pct: float = 20.0
    """... when the clocks fell by more."""
    most_contended_pct: float = 20.0
    """... when something shared the core during more of its samples."""

    def document(self) -> tuple[tuple[str, str], ...]:
        """The plan as text, for a table's protocol."""
        return tuple((field.name, f"{getattr(self, field.name):g}") for field in fields(self))


@dataclass(slots=True)
class Samples:
    """What was measured so far: nanoseconds a run, by key and round, and the runs of each key's samples.

    `on_sample` hears of each one as it is finished (the journal).
    """

    runs: dict[str, int] = field(default_factory=dict)
    rounds: dict[str, dict[int, float]] = field(default_factory=dict)
    sequence: dict[tuple[str, int], None] = field(default_factory=dict)
    """Keys and rounds in the order in which their samples were taken."""
    on_sample: Callable[[str, int, int, float], None] | None = None

    def add(self, key: str, number: int, runs: int, run_ns: float) -> None:
        """Keep a sample, to a tenth of a nanosecond; one of the same key and round is replaced."""
        run_ns = round(run_ns, 1)
        self.runs[key] = runs
        self.rounds.setdefault(key, {})[number] = run_ns
        self.sequence.pop((key, number), None)
        self.sequence[key, number] = None
        if self.on_sample is not None:
            self.on_sample(key, number, runs, run_ns)

    def has(self, key: str, number: int) -> bool:
        """Whether this key was measured in this round."""
        return number in self.rounds.get(key, ())

    def measurement(self, key: str) -> Measurement:
        """The rounds of one key, in order."""
        rounds = self.rounds[key]
        return Measurement(self.runs[key], tuple(rounds[number] for number in sorted(rounds)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a measurement ended: `reason` is "settled", "rounds" or "time"."""

    rounds: int
    reason: str
    redone_visits: int
    unsettled: tuple[str, ...]


class Watch(Protocol):
    """Who looks at the conditions of each round."""

    def begin(self) -> None:
        """A round begins."""
        ...

    def end(self, number: int, *, may_redo: bool) -> bool:
        """Round `number` has ended: whether it is to be taken again."""
        ...


class Guard(Protocol):
    """Who sees to it that a sample is taken while nobody shares the core (`shared_core.Core`)."""

    def quiet(self, take: Callable[[], float]) -> tuple[float, bool]:
        """What `take` returns, and whether it was undisturbed."""
        ...


def first_estimate(session: Session, plan: Plan) -> tuple[int, float]:
    """Runs a sample of this session needs, and nanoseconds a run, from a few quick runs."""
    session.time_ns(plan.discarded_runs)
    run_ns, runs = float(session.time_ns(1)), 1
    while runs * run_ns < plan.sample_ns / 4:
        runs *= 4
        run_ns = session.time_ns(runs) / runs
    run_ns = min(run_ns, session.time_ns(runs) / runs)
    return sample_runs(run_ns, plan), run_ns


def sample_runs(run_ns: float, plan: Plan) -> int:
    """Runs that last at least `plan.sample_ns` together."""
    return max(1, ceil(plan.sample_ns / max(run_ns, 1.0)))


def take_sample(session: Session, runs: int, plan: Plan) -> float:
    """Nanoseconds a run, over one sample that the system did not interrupt, as far as it can be had.

    A sample during which another process got the core is taken again, `plan.retakes` times at most;
    the fastest counts then.
    """
    rough_ns = session.time_ns(plan.discarded_runs) / max(1, plan.discarded_runs)
    taken = []
    for _ in range(1 + plan.retakes):
        before = _interruptions()
        taken.append(_not_held_up(session, runs, rough_ns, plan))
        if _interruptions() == before:
            return taken[-1]
    return min(taken)


def _not_held_up(session: Session, runs: int, rough_ns: float, plan: Plan) -> float:
    """Nanoseconds a run over a sample that was not held up: by SIGSTOP, a paused machine, sleep."""
    for _ in range(_HELD_UP_AT_MOST):
        taken_ns = session.time_ns(runs)
        if taken_ns <= plan.stalled_ns + 3 * runs * rough_ns:
            break
    return taken_ns / runs


def _interruptions() -> int:
    """How often the system took a core from this process that did not give it up."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if resource else 0


def measure(
    sessions: Mapping[str, Session],
    runs: Mapping[str, int],
    samples: Samples,
    plan: Plan,
    *,
    seed: int,
    sentinel: str,
    deadline: float,
    first_round: int = 0,
    clock: Callable[[], float] = time.monotonic,
    on_round: Callable[[int, float], None] | None = None,
    on_visit: Callable[[str], None] | None = None,
    watch: Watch | None = None,
    core: Guard | None = None,
    due: Callable[[str, int], bool] = lambda key, number: True,
) -> Outcome:
    """Measure all sessions in rounds, into `samples`, which may hold rounds from before.

    Stops after `min_rounds` when every interval is narrow, at `max_rounds`, or when the next round
    would end after `deadline` (seconds of `clock`; never before `floor_rounds`, which are then taken
    without measuring anything twice). Rounds count from `first_round`. `on_visit` hears of each key before
    it is run, `on_round` how many rounds are done and the seconds the last one took. `watch` looks at the
    conditions of each round, and has those under wrong ones taken again; `core` has samples wait for a core
    that nobody shares, before the deadline. `due` says which sessions are visited in which round
    (`priority`); each must be in `floor_rounds` of them.
    """
    visits = _Visits(sessions, runs, samples, sentinel, plan, on_visit, core)
    done, longest_s = 0, 0.0

    def once(order: Sequence[str], number: int) -> tuple[float, bool]:
        """Take a round: the seconds it took, and whether it is to be taken again."""
        start = clock()
        late = start > deadline
        care = replace(plan, retakes=0) if late else plan
        visits.core = None if late else core
        if watch is not None:
            watch.begin()
        visits.round(order, number, care, 0.0 if late else plan.redone_pct / 100 * len(sessions) * (done + 1))
        end = clock()
        may_redo = 2 * end - start <= deadline
        again = bool(order) and watch is not None and watch.end(number, may_redo=may_redo)
        return end - start, again

    with no_garbage_collection():
        while True:
            number = first_round + done
            visited = (key for key in _order(sessions, seed, number) if due(key, number))
            order = [key for key in visited if not samples.has(key, number)]
            took_s, again = once(order, number)
            while again:
                time.sleep(_PAUSES_A_ROUND * plan.pause_s)
                took_s, again = once(order, number)
            done, longest_s = done + 1, max(longest_s, took_s)
            if on_round is not None:
                on_round(done, took_s)
            reason = _stop(samples, sessions, plan, done, clock() + longest_s > deadline)
            if reason:
                redone = visits.sentinel.redone
                return Outcome(done, reason, redone, unsettled(samples, sessions, plan))


class _Visits:
    """What is visited in every round, and where the samples go."""

    def __init__(
        self,
        sessions: Mapping[str, Session],
        runs: Mapping[str, int],
        samples: Samples,
        sentinel: str,
        plan: Plan,
        on_visit: Callable[[str], None] | None,
        core: Guard | None,
    ) -> None:
        self._sessions, self._runs, self._samples, self.core = sessions, runs, samples, core
        self._watched, self._on_visit = sentinel, on_visit or (lambda key: None)
        self._on_visit(sentinel)
        self.sentinel = _Sentinel(lambda: self._sample(sentinel, plan), plan)

    def round(self, order: Sequence[str], number: int, plan: Plan, allowed_redos: float) -> None:
        """Visit `order` in stretches; a stretch in which the machine changed is measured once more."""
        sentinel = self.sentinel
        for start in range(0, len(order), plan.sentinel_visits):
            stretch = order[start : start + plan.sentinel_visits]
            self._visit(stretch, number, plan)
            self._on_visit(self._watched)
            if sentinel.drifted() and sentinel.redone + len(stretch) <= allowed_redos:
                sentinel.wait()
                self._visit(stretch, number, plan)
                sentinel.redone += len(stretch)

    def _visit(self, stretch: Sequence[str], number: int, plan: Plan) -> None:
        for key in stretch:
            self._on_visit(key)
            self._samples.add(key, number, self._runs[key], self._sample(key, plan))

    def _sample(self, key: str, plan: Plan) -> float:
        def take() -> float:
            return take_sample(self._sessions[key], self._runs[key], plan)

        return self.core.quiet(take)[0] if self.core else take()


class _Sentinel:
    """One session timed again and again, to notice when the machine is not what it was."""

    _PAUSES = 4
    _MEMORY = 32

    def __init__(self, take: Callable[[], float], plan: Plan) -> None:
        self._take, self._plan = take, plan
        self._seen: list[float] = [take() for _ in range(3)]
        self.redone = 0

    def drifted(self) -> bool:
        """Whether it now takes longer than it used to, beyond what it always varies by."""
        now = self._take()
        recent = np.array(self._seen[-self._MEMORY :])
        usual = float(np.median(recent))
        spread = 1.4826 * float(np.median(np.abs(recent - usual)))
        self._seen.append(now)
        return now > usual + max(self._plan.drift_pct / 100 * usual, 3 * spread)

    def wait(self) -> None:
        """Pause until it is itself again, or has plainly become another."""
        for pause in range(self._PAUSES):
            time.sleep(self._plan.pause_s * 2**pause)
            if not self.drifted():
                return


def _order(sessions: Mapping[str, Session], seed: int, number: int) -> list[str]:
    keys = sorted(sessions)
    return [keys[index] for index in np.random.default_rng((seed, number)).permutation(len(keys))]


def _stop(samples: Samples, sessions: Mapping[str, Session], plan: Plan, rounds: int, late: bool) -> str:
    if rounds >= plan.max_rounds:
        return "rounds"
    if rounds >= plan.floor_rounds and late:
        return "time"
    if rounds >= plan.min_rounds and not unsettled(samples, sessions, plan):
        return "settled"
    return ""


def unsettled(samples: Samples, keys: Iterator[str] | Mapping[str, Session], plan: Plan) -> tuple[str, ...]:
    """The keys whose interval is still wider than the plan asks, in order."""
    return tuple(sorted(key for key in keys if not is_settled(samples.measurement(key), plan)))


def is_settled(measurement: Measurement, plan: Plan, statistic: str = "fastest_quarter") -> bool:
    """Whether the interval of a statistic is within `settled_pct` or `settled_ns` on either side."""
    low_ms, high_ms = measurement.interval_ms(statistic)
    value_ms = measurement.value_ms(statistic)
    half_ms = max(high_ms - value_ms, value_ms - low_ms)
    return half_ms <= max(plan.settled_pct / 100 * value_ms, plan.settled_ns / 1e6)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now and not again until the end: a collection lands in some sample otherwise."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
