"""A measurement keeps what the clock said; every statistic is derived from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, floor
from statistics import fmean

from ponas_deploy.errors import UnknownNameError

STATISTICS: dict[str, float] = {
    "minimum": 0.0,
    "q10": 0.10,
    "fastest_quarter": 0.125,
    "q25": 0.25,
    "midmean": 0.5,
    "median": 0.5,
}
"""The statistics a table may be made with: quantiles of the rounds.

`fastest_quarter` is the mean of the fastest quarter, `midmean` that of the middle half, with the interval of
the quantile in its middle. Which one repeats best where: `docs/measuring.md`.
"""
MIDDLE = ("midmean", "median")
"""The middle of the rounds: what comes closest to the p50 of an engine."""
PERCENTILES = (50, 90, 95, 99)
"""Of single inferences: what is printed of an engine, and what a latency budget can be on."""


@dataclass(frozen=True)
class Measurement:
    """The rounds of one thing that was timed.

    `rounds_ns[r]` is the mean time of a run, in nanoseconds, over the `runs` back-to-back runs of
    round r's sample. `levels[r]` is how slow the machine was just then, 1 as usual (`drift`); empty where
    nobody knows. Statistics are of the rounds over their levels.
    """

    runs: int
    rounds_ns: tuple[float, ...]
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise ValueError(f"holds {self.runs} runs a round, expected 1 or more.")
        check_rounds(self.rounds_ns, self.levels)

    @property
    def steady_ns(self) -> tuple[float, ...]:
        """The rounds as they would have been on a machine that is always as usual."""
        if not self.levels:
            return self.rounds_ns
        return tuple(value / level for value, level in zip(self.rounds_ns, self.levels))

    def half(self, start: int) -> Measurement:
        """Every other round from `start`, 0 or 1: a measurement of its own."""
        return Measurement(self.runs, self.rounds_ns[start::2], self.levels[start::2])

    def value_ms(self, statistic: str) -> float:
        """A statistic over the rounds, in milliseconds."""
        ordered, count = sorted(self.steady_ns), len(self.rounds_ns)
        if statistic == "fastest_quarter":
            return fmean(ordered[: max(1, round(count / 4))]) / 1e6
        if statistic == "midmean":
            return fmean(ordered[count // 4 : count - count // 4]) / 1e6
        return quantile(ordered, _probability(statistic)) / 1e6

    def interval_ms(self, statistic: str, confidence: float = 0.95) -> tuple[float, float]:
        """An interval of the statistic from order statistics, in milliseconds; no distribution assumed."""
        ordered = sorted(self.steady_ns)
        low, high = order_interval(len(ordered), _probability(statistic), confidence)
        return ordered[low] / 1e6, ordered[high] / 1e6


def check_rounds(rounds_ns: Sequence[float], levels: Sequence[float]) -> None:
    """ValueError where there is no round, one of no time, or levels that are not one above zero for each."""
    if not rounds_ns:
        raise ValueError("holds no round.")
    if not min(rounds_ns) > 0:
        raise ValueError(f"holds a round of {min(rounds_ns):g} ns, every one must be above zero.")
    if levels and (len(levels) != len(rounds_ns) or not min(levels) > 0):
        raise ValueError(f"must hold {len(rounds_ns)} levels above zero, one for each round.")


def quantile(values: Sequence[float], probability: float) -> float:
    """The quantile with linear interpolation (Hyndman and Fan's type 7)."""
    ordered = sorted(values)
    position = probability * (len(ordered) - 1)
    below = floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def order_interval(count: int, probability: float, confidence: float) -> tuple[int, int]:
    """Ranks (from 0) of the order statistics that bracket a quantile with `confidence`.

    The number of samples below the quantile is binomial; for the minimum the probability is taken
    as 1 / (count + 1), its expected place.
    """
    p = max(probability, 1 / (count + 1))
    mass = [comb(count, k) * p**k * (1 - p) ** (count - k) for k in range(count + 1)]
    tail = (1 - confidence) / 2
    below, low = 0.0, 0
    while low < count - 1 and below + mass[low] <= tail:
        below += mass[low]
        low += 1
    above, high = 0.0, count
    while high > low + 1 and above + mass[high] <= tail:
        above += mass[high]
        high -= 1
    return max(low - 1, 0), min(high, count - 1)


def _probability(statistic: str) -> float:
    if statistic not in STATISTICS:
        raise UnknownNameError("statistic", statistic, STATISTICS)
    return STATISTICS[statistic]
