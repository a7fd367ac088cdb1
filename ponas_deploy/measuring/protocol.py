"""The measuring protocol: how long a session takes, said in a way that can be repeated.

Everything is visited once a round, in a new random order, so that a machine that becomes slower hits all
alike (google/benchmark measured 40 % less variance from that alone). A sample is enough back-to-back runs to
last a millisecond, after discarded ones. Where the machine's level is not taken out afterwards (`detrend`), a
sentinel visited now and then notices when the machine becomes slower, and what was visited since the last
time is measured again. Every round's value is kept; the statistic is chosen afterwards, by how well it
repeats.

Only the standard library, NumPy and the backend: this runs on a small board as it is.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from math import ceil
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ponas_deploy.backends import Session
from ponas_deploy.backends.protocol import StartsProcesses
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.tables.measurement import Measurement

if TYPE_CHECKING:
    from ponas_deploy.measuring.interference import Snapshot

try:
    import resource
except ImportError:  # Windows: interruptions go unnoticed there.
    resource = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Plan:
    """How to measure. Times in nanoseconds or seconds, thresholds in percent, as the names say."""

    sample_ns: int = 1_000_000
    discarded_runs: int = 1
    min_rounds: int = 10
    max_rounds: int = 40
    retakes: int = RETRIES.sample_retakes
    """How often a sample during which another process got the core is taken again."""
    floor_rounds: int = 5
    """The fewest rounds ever, however short the time."""
    settled_pct: float = 1.0
    settled_ns: float = 1_000.0
    sentinel_visits: int = 24
    """The sentinel is visited after so many others."""
    drift_pct: float = 3.0
    """It has become slower when it takes so much longer, and beyond what it always varies by."""
    redone_pct: float = RETRIES.redone_pct
    """The most visits that may be measured again, and the most rounds."""
    pause_s: float = 0.05
    """Waited before anything is taken again, once or several times (`Retries`)."""
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

    def numbers(self) -> dict[str, float]:
        """The plan by name, for a table's protocol."""
        return {field.name: float(getattr(self, field.name)) for field in fields(self)}


@dataclass
class Samples:
    """What was measured so far: nanoseconds a run, by key and round, and the runs of each key's samples.

    `on_sample` is called with each one as it is finished (the journal).
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


@dataclass(frozen=True)
class Outcome:
    """How a measurement ended: `reason` is "settled", "rounds" or "time".

    `round_s` is what the longest round took. `extended_s` are the seconds that it went on beyond that end
    (`disturbed`).
    """

    rounds: int
    reason: str
    redone_visits: int
    unsettled: tuple[str, ...]
    round_s: float = 0.0
    extended_s: float = 0.0


class RoundCheck(Protocol):
    """What reads the conditions of each round (`interference.Interference`)."""

    def begin(self) -> None:
        """A round begins."""
        ...

    def end(self, number: int, *, may_redo: bool, seen: tuple[Snapshot, Snapshot] | None = None) -> bool:
        """Round `number` has ended: whether it is to be taken again.

        `seen` is the machine before and after it, where it was taken on another one.
        """
        ...


class QuietSamples(Protocol):
    """What has a sample taken while nobody shares the core (`contention.ContentionProbe`)."""

    def take_quiet(self, take: Callable[[], float]) -> tuple[float, bool]:
        """What `take` returns, and whether nobody shared the core meanwhile."""
        ...


class TakesRounds(Protocol):
    """What takes the samples of a round: sessions of this process, or a board's (`remote`).

    `redone` counts the visits that were measured again.
    """

    redone: int

    def round(
        self, order: Sequence[str], number: int, plan: Plan, allowed_redos: float, *, quiet: bool
    ) -> tuple[Snapshot, Snapshot] | None:
        """Visit `order`, each while nobody shares the core where `quiet` asks for that.

        Returns the machine before and after, where that is another one than this process runs on.
        """
        ...


def begin_visit(session: Session) -> None:
    """What is asked of a session next is measured anew, also where a process times runs in advance."""
    if isinstance(session, StartsProcesses):
        session.begin_visit()


def first_estimate(session: Session, plan: Plan) -> tuple[int, float]:
    """Runs a sample of this session needs, and nanoseconds a run, from a few quick runs."""
    begin_visit(session)
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

    A sample that was held up (SIGSTOP, a paused machine, sleep) is taken again, and so is one during which
    another process got the core, `plan.retakes` times at most; the fastest counts then.
    """
    begin_visit(session)
    rough_ns = session.time_ns(plan.discarded_runs) / max(1, plan.discarded_runs)
    most_ns = plan.stalled_ns + 3 * runs * rough_ns
    taken_ns: list[int] = []
    while True:
        before = _interruptions()
        taken_ns.append(session.time_ns(runs))
        held_up = taken_ns[-1] > most_ns
        if not held_up and _interruptions() == before:
            return taken_ns[-1] / runs
        if len(taken_ns) > (RETRIES.sample_retakes if held_up else plan.retakes):
            return min(taken_ns) / runs
        begin_visit(session)


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
    deadline: float,
    sentinel: str | None = None,
    first_round: int = 0,
    clock: Callable[[], float] = time.monotonic,
    on_round: Callable[[int, float], None] | None = None,
    on_visit: Callable[[str], None] | None = None,
    interference: RoundCheck | None = None,
    probe: QuietSamples | None = None,
    due: Callable[[str, int], bool] = lambda key, number: True,
    taker: TakesRounds | None = None,
) -> Outcome:
    """Measure all sessions in rounds, into `samples`, which may hold rounds from before.

    Stops after `min_rounds` when every interval is narrow, at `max_rounds`, or when the next round would end
    after `deadline` (seconds of `clock`; never before `floor_rounds`, which are then taken without measuring
    anything again). Rounds count from `first_round`. `on_visit` is called with each key before it is run,
    `on_round` with how many rounds are done and the seconds the last one took. `sentinel` is the key that is
    visited now and then to notice a machine that becomes slower, for samples whose level is not taken out.
    `interference` reads the conditions of each round, and has those under wrong ones taken again; `probe` has
    samples wait for a core that nobody shares, before the deadline. `due` says which sessions are visited in
    which round (`priority`); each must be in `floor_rounds` of them. `taker` takes the rounds where they are
    taken elsewhere, into `samples` as well.
    """
    visits = taker or Visits(sessions, runs, samples, sentinel, plan, on_visit, probe)
    done, longest_s = 0, 0.0

    def once(order: Sequence[str], number: int) -> tuple[float, bool]:
        """Take a round: the seconds it took, and whether it is to be taken again."""
        start = clock()
        late = start > deadline
        care = replace(plan, retakes=0) if late else plan
        if interference is not None and taker is None:
            interference.begin()
        allowed_redos = 0.0 if late else plan.redone_pct / 100 * len(sessions) * (done + 1)
        seen = visits.round(order, number, care, allowed_redos, quiet=not late)
        end = clock()
        may_redo = 2 * end - start <= deadline
        again = (
            bool(order)
            and interference is not None
            and interference.end(number, may_redo=may_redo, seen=seen)
        )
        return end - start, again

    with no_garbage_collection():
        while True:
            number = first_round + done
            visited = (key for key in _order(sessions, seed, number) if due(key, number))
            order = [key for key in visited if not samples.has(key, number)]
            took_s, again = once(order, number)
            while again:
                time.sleep(RETRIES.round_pauses * plan.pause_s)
                took_s, again = once(order, number)
            done, longest_s = done + 1, max(longest_s, took_s)
            if on_round is not None:
                on_round(done, took_s)
            reason = _stop(samples, sessions, plan, done, clock() + longest_s > deadline)
            if reason:
                return Outcome(done, reason, visits.redone, unsettled(samples, sessions, plan), longest_s)


def take_round_again(
    sessions: Mapping[str, Session],
    runs: Mapping[str, int],
    samples: Samples,
    plan: Plan,
    number: int,
    *,
    seed: int,
    on_visit: Callable[[str], None] | None = None,
    probe: QuietSamples | None = None,
    taker: TakesRounds | None = None,
) -> tuple[Snapshot, Snapshot] | None:
    """Take the samples of a round once more, in place of those it has; as of `measure`.

    Returns the machine before and after, where it was taken on another one.
    """
    visits = taker or Visits(sessions, runs, samples, None, plan, on_visit, probe)
    order = [key for key in _order(sessions, seed, number) if samples.has(key, number)]
    with no_garbage_collection():
        return visits.round(order, number, plan, 0.0, quiet=True)


class Visits:
    """What is visited in every round, and where the samples go."""

    def __init__(
        self,
        sessions: Mapping[str, Session],
        runs: Mapping[str, int],
        samples: Samples,
        sentinel: str | None,
        plan: Plan,
        on_visit: Callable[[str], None] | None,
        probe: QuietSamples | None,
    ) -> None:
        self._sessions, self._runs, self._samples = sessions, runs, samples
        self._probe, self._quiet = probe, True
        self._on_visit, self.redone = on_visit or (lambda key: None), 0
        self._sentinel = _Sentinel(lambda: self._sentinel_sample(sentinel, plan), plan) if sentinel else None

    def round(
        self, order: Sequence[str], number: int, plan: Plan, allowed_redos: float, *, quiet: bool
    ) -> None:
        """Visit `order`; what was visited while the sentinel became slower is measured once more."""
        sentinel, self._quiet = self._sentinel, quiet
        if sentinel is None:
            self._visit(order, number, plan)
            return
        for start in range(0, len(order), plan.sentinel_visits):
            keys = order[start : start + plan.sentinel_visits]
            self._visit(keys, number, plan)
            if sentinel.has_slowed() and self.redone + len(keys) <= allowed_redos:
                sentinel.wait()
                self._visit(keys, number, plan)
                self.redone += len(keys)

    def _visit(self, keys: Sequence[str], number: int, plan: Plan) -> None:
        for key in keys:
            self._on_visit(key)
            self._samples.add(key, number, self._runs[key], self._sample(key, plan))

    def _sentinel_sample(self, key: str, plan: Plan) -> float:
        self._on_visit(key)
        return self._sample(key, plan)

    def _sample(self, key: str, plan: Plan) -> float:
        def take() -> float:
            return take_sample(self._sessions[key], self._runs[key], plan)

        return self._probe.take_quiet(take)[0] if self._probe and self._quiet else take()


class _Sentinel:
    """One session timed again and again, to notice when the machine has become slower."""

    _MEMORY = 32

    def __init__(self, take: Callable[[], float], plan: Plan) -> None:
        self._take, self._plan = take, plan
        self._seen: list[float] = [take() for _ in range(3)]

    def has_slowed(self) -> bool:
        """Whether it now takes longer than it used to, beyond what it always varies by."""
        now = self._take()
        recent = np.array(self._seen[-self._MEMORY :])
        usual = float(np.median(recent))
        spread = 1.4826 * float(np.median(np.abs(recent - usual)))
        self._seen.append(now)
        return now > usual + max(self._plan.drift_pct / 100 * usual, 3 * spread)

    def wait(self) -> None:
        """Pause until it is as fast as before, or plainly stays slower."""
        for pause in range(RETRIES.sentinel_pauses):
            time.sleep(self._plan.pause_s * 2**pause)
            if not self.has_slowed():
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
