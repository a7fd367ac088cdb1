"""A measurement keeps what the clock said; every statistic is derived from it."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, floor, fsum

from ponas_deploy.errors import UnknownNameError

STATISTICS: dict[str, float] = {
    "minimum": 0.0,
    "q10": 0.10,
    "fastest_quarter": 0.125,
    "q25": 0.25,
    "median": 0.5,
}
"""The statistics a table may be made with: quantiles of the rounds.

`fastest_quarter` is the mean of the fastest quarter, with the interval of the quantile in its middle.
On a machine that others use too it repeated best or nearly (`benchmarks/profile.py --details`).
"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The rounds of one thing that was timed.

    `rounds_ns[r]` is the mean time of a run, in nanoseconds, over the `runs` back-to-back runs of
    round r's sample.
    """

    runs: int
    rounds_ns: tuple[float, ...]

    def value_ms(self, statistic: str) -> float:
        """A statistic over the rounds, in milliseconds."""
        if statistic == "fastest_quarter":
            fastest = sorted(self.rounds_ns)[: max(1, round(len(self.rounds_ns) / 4))]
            return fsum(fastest) / len(fastest) / 1e6
        return quantile(self.rounds_ns, _probability(statistic)) / 1e6

    def interval_ms(self, statistic: str, confidence: float = 0.95) -> tuple[float, float]:
        """An interval of the statistic from order statistics, in milliseconds; no distribution assumed."""
        ordered = sorted(self.rounds_ns)
        low, high = order_interval(len(ordered), _probability(statistic), confidence)
        return ordered[low] / 1e6, ordered[high] / 1e6


def quantile(values: tuple[float, ...], probability: float) -> float:
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
