"""Interference: what the machine did besides a measurement, round by round, and whether it was too much.

Between rounds, never inside one, the counters of the system are read: what other processes and a hypervisor
took of the cores, what a container's quota or heat held up, how fast the clocks ran. A round under wrong
conditions is taken again while that happened to few and helps; the others are kept and counted, and the
table says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from math import ceil

from ponas_deploy.machines.conditions import Reading, read_conditions
from ponas_deploy.machines.counters import Counters, read_counters
from ponas_deploy.machines.machine import power_mode
from ponas_deploy.machines.nvidia import GpuReading
from ponas_deploy.measuring.contention import CoreReading
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.tables.rounds import InterferenceSummary, Round, usual_core_ns

__all__ = [
    "Interference", "InterferenceSummary", "Round", "Snapshot", "between", "complaints", "take_snapshot",
    "usual_core_ns",
]  # fmt: skip

# Processor time is counted in ticks of up to 10 ms, and a core's may come one late at either end of a round.
_TICKS_S = 0.02
_LONG_ASLEEP_S = 0.1
_POWER_CAP = "GPU power cap"
# Lower clocks that somebody asked for, or that a processor without throttling has too.
_ASKED_FOR = ("application clocks", "sync boost", "display clocks")


@dataclass(frozen=True)
class Snapshot:
    """The state of the machine between two rounds, and what it counted until then."""

    counters: Counters
    reading: Reading
    gpu: GpuReading
    power_mode: str = ""
    core: CoreReading = CoreReading()  # noqa: RUF009 (frozen)


def take_snapshot(
    gpu: Callable[[], GpuReading] = GpuReading, core: Callable[[], CoreReading] = CoreReading
) -> Snapshot:
    """The machine now; `gpu` reads the GPU where one is measured, `core` the core where it is probed."""
    return Snapshot(read_counters(), read_conditions(), gpu(), power_mode(), core())


def between(number: int, before: Snapshot, after: Snapshot) -> Round:
    """The round that lies between two snapshots, not yet compared with the plan."""
    start, end = before.counters, after.counters
    seconds = max(end.at_s - start.at_s, 1e-9)

    def share_pct(used_s: float, slack_s: float = 0.0) -> float:
        return round(100 * max(0.0, used_s - slack_s) / (seconds * end.cores), 1)

    core = after.core.since(before.core)
    others_s = (end.busy_s - start.busy_s) - (end.own_s - start.own_s)
    known = (*before.reading.throttled_before, *after.reading.throttle)
    heat = ("heat",) if end.hot > start.hot else ()
    since = tuple(f"{one} meanwhile" for one in after.reading.throttled_before if one not in known)
    gpu = tuple(f"GPU {reason}" for reason in after.gpu.throttle if reason not in _ASKED_FOR)
    clock, clock_before = after.reading.gpu_clock, before.reading.gpu_clock
    gpu_c = after.gpu.temperature_c  # a Jetson's NVML has a name and no heat
    mean_mhz = None
    if after.gpu.present and clock and clock_before and not clock.locked:
        mean_mhz = clock.mean_since(clock_before)
    return Round(
        number,
        others_pct=share_pct(others_s, _TICKS_S * end.cores),
        stolen_pct=share_pct(end.stolen_s - start.stolen_s, _TICKS_S * end.cores),
        quota_pct=share_pct((end.quota_s - start.quota_s) * end.cores),
        asleep_s=round(end.asleep_s - start.asleep_s, 1),
        core_ns=round(core.usual_ns, 1) if core.kept else None,
        shared_pct=round(core.shared_pct, 1),
        contended_pct=round(core.contended_pct, 1),
        clock_mhz=after.reading.frequency_mhz,
        gpu_clock_mhz=after.gpu.sm_clock_mhz or (clock.now_mhz if clock else None),
        gpu_mean_clock_mhz=None if mean_mhz is None else round(mean_mhz, 1),
        gpu_memory_clock_mhz=after.gpu.memory_clock_mhz,
        gpu_power_w=after.gpu.power_w,
        temperature_c=after.reading.temperature_c if gpu_c is None else gpu_c,
        load=None if after.reading.load is None else round(after.reading.load, 2),
        governor=after.reading.governor,
        affinity=after.reading.affinity,
        power_mode=after.power_mode,
        gpu_clocks=clock.range if clock else "",
        held=(*after.reading.throttle, *since, *heat, *gpu),
    )


def complaints(now: Round, rounds: Sequence[Round], plan: Plan) -> str:
    """What was wrong with a round, after those before it; empty where it may be kept."""
    found = []
    for value, most, text in (
        (now.others_pct, plan.most_others_pct, "other processes used {:.0f} % of the cores"),
        (now.stolen_pct, plan.most_stolen_pct, "the hypervisor took {:.0f} % of the cores"),
        (now.quota_pct, plan.most_quota_pct, "the container's quota held it up for {:.0f} % of the time"),
        (now.asleep_s, _LONG_ASLEEP_S, "the machine slept for {:.1f} s"),
        (
            now.contended_pct,
            plan.most_contended_pct,
            "something shared or slowed the core during {:.0f} % of the samples",
        ),
    ):
        if value > most:
            found.append(text.format(value))
    watched = {"clock": "clock_mhz", "GPU's clock": "gpu_clock_mhz"}
    if "-" in now.gpu_clocks:  # its governor may choose, and does so between rounds: the mean of each counts
        watched["GPU's clock"] = "gpu_mean_clock_mhz"
    for what, field in watched.items():
        clock, before = getattr(now, field), [getattr(one, field) or 0.0 for one in rounds]
        highest = max(before, default=0.0)
        if clock and clock < (1 - plan.most_clock_drop_pct / 100) * highest:
            found.append(f"the {what} fell from {highest:.0f} to {clock:.0f} MHz")
    for what in ("governor", "affinity", "power_mode", "gpu_clocks"):
        first = next((text for one in rounds if (text := getattr(one, what))), "")
        if first and getattr(now, what) != first:
            found.append(f"the {what.replace('_', ' ')} changed from {first} to {getattr(now, what)}")
    if held := [reason for reason in now.held if not _is_usual(reason, now, rounds)]:
        found.append(f"throttled ({', '.join(held)})")
    return ", ".join(found)


def _is_usual(reason: str, now: Round, rounds: Sequence[Round]) -> bool:
    """Whether a GPU works at its power cap most of the time, as capped cards and laptops do.

    A round that is taken again would be like that too; what counts then is the clock, which is watched.
    """
    capped = sum(_POWER_CAP in one.held for one in rounds)
    return reason == _POWER_CAP and now.gpu_clock_mhz is not None and 2 * capped > len(rounds)


def superseded(rounds: Iterable[Round]) -> list[Round]:
    """The same rounds; those that were taken again stand in place of the ones before of their number."""
    found: list[Round] = []
    for one in rounds:
        if one.again:
            found = [replace(r, discarded=True) if r.number == one.number else r for r in found]
        found.append(one)
    return found


@dataclass(frozen=True)
class Disturbed:
    """How many rounds were kept, and which of them something disturbed."""

    kept: int
    rounds: tuple[Round, ...]

    @property
    def most(self) -> bool:
        """Whether more than half were: then they say as much of the other work as of what was measured."""
        return 2 * len(self.rounds) > self.kept

    @property
    def text(self) -> str:
        """`7 of 10 rounds were disturbed (other processes used 45 % of the cores)`."""
        because = f" ({self.rounds[-1].wrong})" if self.rounds else ""
        return f"{len(self.rounds)} of {self.kept} rounds were disturbed{because}"


def disturbed_now(seconds: float = RETRIES.look_s) -> str:
    """What disturbs this machine during so many seconds from now on; empty where nothing does."""
    before = take_snapshot()
    time.sleep(seconds)
    return complaints(between(0, before, take_snapshot()), (), Plan())


class Interference:
    """The interference in all rounds of one measurement; see `protocol.RoundCheck`.

    `rounds` may hold those from before; `on_round` is called with each one (the journal).
    """

    def __init__(
        self,
        plan: Plan,
        snapshot: Callable[[], Snapshot] = take_snapshot,
        rounds: Iterable[Round] = (),
    ) -> None:
        self._plan, self._snapshot, self._before = plan, snapshot, snapshot()
        self.rounds = superseded(rounds)
        self.on_round: Callable[[Round], None] | None = None

    @property
    def disturbed(self) -> Disturbed:
        """The rounds that were kept, and those of them that were disturbed."""
        kept = [one for one in self.rounds if not one.discarded]
        return Disturbed(len(kept), tuple(one for one in kept if one.wrong))

    def end_again(self, number: int, seen: tuple[Snapshot, Snapshot] | None = None) -> None:
        """A round that was taken in place of an earlier one of its number has ended; `seen` as in `end`."""
        now = self._round(number, seen)
        earlier = [one for one in self.rounds if not (one.number == number and not one.discarded)]
        again = replace(now, wrong=complaints(now, earlier, self._plan), again=True)
        self.rounds = superseded([*self.rounds, again])
        if self.on_round is not None:
            self.on_round(again)

    def wait_for_gap(self, most_s: float) -> bool:
        """Wait until nothing disturbs for a moment (`Retries`); False where that did not come in `most_s`."""
        give_up_s = time.monotonic() + most_s
        while True:
            self.begin()
            time.sleep(RETRIES.gap_s)
            if not complaints(between(0, self._before, self._snapshot()), self.rounds, self._plan):
                return True
            if time.monotonic() > give_up_s:
                return False

    def begin(self) -> None:
        """A round begins."""
        self._before = self._snapshot()

    def end(
        self,
        number: int,
        *,
        may_redo: bool,
        insist: bool = False,
        seen: tuple[Snapshot, Snapshot] | None = None,
    ) -> bool:
        """It has ended: whether it is to be taken again. `insist` on that, often as it happened before.

        `seen` is the machine before and after, where another one took the round.
        """
        now = self._round(number, seen)
        wrong = complaints(now, self.rounds, self._plan)
        again = bool(wrong) and may_redo and (insist or self._may_help())
        self.rounds.append(replace(now, wrong=wrong, discarded=again))
        if self.on_round is not None:
            self.on_round(self.rounds[-1])
        return again

    def _round(self, number: int, seen: tuple[Snapshot, Snapshot] | None) -> Round:
        return between(number, *(seen or (self._before, self._snapshot())))

    def discard(self, place: int, wrong: str) -> None:
        """The round at a place of `rounds` turned out to be wrong after it was kept."""
        self.rounds[place] = replace(self.rounds[place], wrong=wrong, discarded=True)

    def _may_help(self) -> bool:
        """Whether few rounds were taken again, and those since the last good one not in vain."""
        kept = sum(not one.discarded for one in self.rounds)
        bad = takewhile(lambda one: one.wrong, reversed(self.rounds))
        allowed = ceil(self._plan.redone_pct / 100 * (kept + 1))
        in_vain = sum(one.discarded for one in bad)
        return len(self.rounds) - kept < allowed and in_vain < RETRIES.redone_in_vain_rounds

    def summary(self) -> InterferenceSummary:
        """All rounds, for a table's protocol."""
        return InterferenceSummary.of(self.rounds)
