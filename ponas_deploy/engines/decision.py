"""The rule by which a search chooses: accuracy is weighed against the probability of missing the budget.

What a network costs is what it loses, in percentage points, and `MISS_PP` times the probability that on
this machine, as it usually is, it takes more than the budget. Of those that met it the one that costs least
is chosen, and what is built next is the network whose timing is expected to gain most over that. So a miss
weighs as much as ten points of top-1: what met the budget is never passed over for something that loses
ten points more, however little it left.

The probability is that of a normal distribution of the logarithm of the latency. Two things are known of a
network: what its table says, times the table's factor on this machine, and what its own timings said; each
counts by the inverse of its variance (a random-effects model with known variances; Gelman et al., Bayesian
Data Analysis, 3rd edition, section 5.4). Pure: no clock, no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist, median

MISS_PP = 10.0
"""What missing the budget later weighs, in percentage points of top-1."""
FADING = 0.5
"""What a residual counts for beside the one after it, where noise does not explain how far it lies from the
latest: a machine that was busy at first is forgotten."""
_EXPLAINED = 2.0
"""Noise explains so many standard deviations."""
_TABLE_MOVED = 0.05
"""How far a table's factor now lies from that of its certificate (standard deviation of the logarithm): first
engines were up to 5 % over their predictions on machines that had not changed (docs/results/promises.md)."""
LATER = 0.01
"""How far a machine's speed minutes later lies from that of the search (standard deviation of the logarithm):
without it engines that use 99 % of a budget are over it later by a little (docs/results/promises.md)."""
_UNKNOWN_SCATTER = 0.03
"""How far networks scatter about a table that has no certificate: what a sound one has at most."""
_NORMAL_MAD = 1 / NormalDist().inv_cdf(0.75)
"""The standard deviation of a normal distribution over the median of its absolute deviations."""
_LEAST = 1e-3
"""No deviation is smaller: clocks and files round."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A positive number that is known so far: `value`, and the standard deviation of its logarithm."""

    value: float
    deviation: float

    def times(self, factor: float) -> Estimate:
        """The estimate of so many times as much."""
        return Estimate(self.value * factor, self.deviation)

    def above(self, limit: float) -> float:
        """The probability that it is above `limit`, which may be infinite."""
        return 1 - NormalDist(log(self.value), max(_LEAST, self.deviation)).cdf(log(limit))

    def quantile(self, deviations: float) -> float:
        """What lies so many standard deviations above it."""
        return self.value * exp(deviations * self.deviation)


def middle_of(values: Sequence[float]) -> Estimate:
    """The median, and how far it may be off by how far they lie apart: what was disturbed does not count."""
    middle = median(values)
    apart = median(abs(log(one / middle)) for one in values)
    return Estimate(middle, _NORMAL_MAD * apart / sqrt(len(values)))


@dataclass(frozen=True, slots=True)
class Observation:
    """A network that was timed: measured over predicted, and how far the noise may have taken that."""

    residual: float
    noise: float


@dataclass(frozen=True, slots=True)
class TableFactor:
    """What a certificate says: measured over predicted (None without one), and how networks scatter."""

    typical: float | None = None
    scatter: float = _UNKNOWN_SCATTER


def cost_pp(loss_pp: float, missing: float) -> float:
    """What a network costs that loses so much and misses the budget with this probability."""
    return loss_pp + MISS_PP * missing


def missing(known: Estimate, limit_ms: float) -> float:
    """The probability that a network, of whose latency so much is known, takes more than a limit later."""
    return _wider(known, LATER).above(limit_ms)


def gain_pp(now_pp: float, loss_pp: float, expected: Estimate, limit_ms: float, noise: float) -> float:
    """What a timing of a network, whose latency is `expected`, gains over one that costs `now_pp`.

    Where the timing tells whether it misses, it is taken only if not (the expected improvement of Jones,
    Schonlau and Welch 1998, with two outcomes). Where noise hides that, it costs what it costs now.
    """
    misses = missing(expected, limit_ms)
    told = 1 / (1 + _variance(noise) / _variance(expected.deviation))
    untold_pp = max(0.0, now_pp - cost_pp(loss_pp, misses))
    return told * (now_pp - loss_pp) * (1 - misses) + (1 - told) * untold_pp


def factor(certified: TableFactor, seen: Sequence[Observation], common: float = 0.0) -> Estimate:
    """A table's factor on this machine, from its certificate and what was seen since, in order of time.

    `common` is how far all that was seen may be off together: as the machine's usual speed is known.
    """
    observed = _observed(certified, seen) if seen else None
    if observed is None:
        return Estimate(certified.typical or 1.0, _TABLE_MOVED)
    observed = _wider(observed, common)
    if certified.typical is None:
        return observed
    return _both(observed, Estimate(certified.typical, _TABLE_MOVED))


def untimed(certified: TableFactor, seen: Sequence[Observation], common: float = 0.0) -> Estimate:
    """Measured over predicted of a network that was not timed."""
    return _wider(factor(certified, seen, common), certified.scatter)


def timed(
    certified: TableFactor, others: Sequence[Observation], own: Observation, common: float = 0.0
) -> Estimate:
    """Measured over predicted of a network that was timed, from that and from what the others say."""
    known = Estimate(own.residual, own.noise)
    if others:
        known = _both(known, _wider(_observed(certified, others), certified.scatter))
    known = _wider(known, common)
    return known if certified.typical is None else _both(known, untimed(certified, ()))


def _observed(certified: TableFactor, seen: Sequence[Observation]) -> Estimate:
    """A table's factor by what was seen alone."""
    weights = list[float]()
    for age, one in zip(reversed(range(len(seen))), seen, strict=True):
        own, last = (_variance(certified.scatter, each.noise) for each in (one, seen[-1]))
        explained = abs(log(one.residual / seen[-1].residual)) <= _EXPLAINED * sqrt(own + last)
        weights.append((1.0 if explained else FADING**age) / own)
    mean = sum(weight * log(one.residual) for weight, one in zip(weights, seen, strict=True)) / sum(weights)
    return Estimate(exp(mean), 1 / sqrt(sum(weights)))


def _both(one: Estimate, other: Estimate) -> Estimate:
    """Two estimates of one number together, each by the inverse of its variance."""
    weights = [1 / _variance(each.deviation) for each in (one, other)]
    mean = (weights[0] * log(one.value) + weights[1] * log(other.value)) / sum(weights)
    return Estimate(exp(mean), 1 / sqrt(sum(weights)))


def _wider(known: Estimate, deviation: float) -> Estimate:
    return Estimate(known.value, sqrt(_variance(known.deviation, deviation)))


def _variance(*deviations: float) -> float:
    return max(_LEAST**2, sum(one**2 for one in deviations))
