"""The margin of a latency table: what its predictions are multiplied with to stay below a budget."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, pi, sqrt
from statistics import NormalDist, median

from ponas_deploy.tables.latency import LatencyTable, NetworkLatency
from ponas_deploy.tables.measurement import STATISTICS, Measurement, quantile

CONFIDENCE = 0.95
"""The share of networks that a margin keeps under the budget, where nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Margin:
    """What a table's predictions are multiplied with, so that a share of networks stays below the budget.

    `confidence` is the share that was asked for, `shown` the share that so many check networks can show.
    `factor` is what the predictions are multiplied with, `typical` the median of measured over predicted,
    `networks` how many there are. `by_noise` when the noise floor asks for more than the networks do.
    """

    confidence: float
    percentile: int
    factor: float
    typical: float
    networks: int
    shown: float
    by_noise: bool

    @property
    def text(self) -> str:
        """One line for people."""
        why = "the noise floor asks for it" if self.by_noise else f"from {self.networks} check networks"
        return f"{100 * (self.factor - 1):+.1f} % for {100 * self.confidence:g} % of networks, {why}"

    @property
    def shortfall(self) -> str:
        """A sentence where there are too few check networks for the confidence; empty where not."""
        if self.shown >= self.confidence:
            return ""
        needed = ceil(self.confidence / (1 - self.confidence) - 1e-9)
        return (
            f"its certificate has {self.networks} networks, which show {100 * self.shown:.0f} % at most, not"
            f" {100 * self.confidence:g} % ({needed} are needed): the largest error seen is the margin."
        )


def margin(table: LatencyTable, confidence: float = CONFIDENCE, percentile: int = 50) -> Margin | None:
    """The margin of a table for a budget on a percentile of single inferences; None without a certificate.

    Of n networks the ceil((n + 1) * confidence)-th smallest of measured over predicted is a bound for the
    next network with that confidence, whatever the distribution; beyond n the largest stands in. The
    percentile is that of each network's own rounds. Never below what repeating a measurement differs by:
    a noise floor f (mean difference of two halves) makes a standard deviation of f sqrt(pi) / (2 sqrt(2)).
    """
    certificate = table.certificate
    known = [network for network in certificate.networks if network.predicted_ms > 0] if certificate else []
    if certificate is None or not known:
        return None
    ratios = sorted(_ratio(network, table.statistic, percentile) for network in known)
    count = len(ratios)
    bound = ratios[min(ceil((count + 1) * confidence - 1e-9), count) - 1]
    sigma = certificate.noise_floor_pct / 100 * sqrt(pi / 8)
    noise = 1 + max(0.0, NormalDist().inv_cdf(confidence)) * sigma
    return Margin(
        confidence,
        percentile,
        max(bound, noise),
        median(ratios),
        count,
        min(confidence, count / (count + 1)),
        noise > bound,
    )


def _ratio(network: NetworkLatency, statistic: str, percentile: int) -> float:
    """A percentile of a network's rounds over its prediction."""
    return network.measured_ms / network.predicted_ms * _shape(network.measurement, statistic, percentile)


def _shape(measurement: Measurement, statistic: str, percentile: int) -> float:
    """How far a percentile of the rounds lies above the table's statistic of them."""
    if statistic not in STATISTICS or len(measurement.rounds_ns) < 2:
        return 1.0
    return quantile(measurement.rounds_ns, percentile / 100) / 1e6 / measurement.value_ms(statistic)
