"""The margin of a latency table: what its predictions are multiplied with to stay below a budget.

From the check networks of a certificate by split conformal prediction (Vovk, Gammerman and Shafer,
"Algorithmic Learning in a Random World", 2005); of a table that was fitted to whole networks from its
held-out rows in the same way (cross-conformal prediction: Vovk, Ann. Math. Artif. Intell. 74, 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log, pi, sqrt
from statistics import NormalDist, median

from ponas_deploy.tables.latency import LatencyTable, NetworkLatency
from ponas_deploy.tables.measured_how import HeldOutLatencies
from ponas_deploy.tables.measurement import STATISTICS, Measurement, quantile

CONFIDENCE = 0.95
"""The share of networks that a margin keeps under the budget, where nothing else is asked for."""
_PARTS, _LEAST_PART = 3, 40
"""A table may be worse where networks are fast: each third of its held-out rows must be kept under, too."""


@dataclass(frozen=True, slots=True)
class Margin:
    """What a table's predictions are multiplied with, so that a share of networks stays below the budget.

    `confidence` is the share that was asked for, `shown` the share that so many check networks can show.
    `factor` is what the predictions are multiplied with, `typical` the median of measured over predicted,
    `networks` how many there are, `scatter_pct` how far they lie from it by themselves (a standard deviation,
    their measurements' noise taken out). `by_noise` when the noise floor asks for more than the networks do,
    `held_out` when they are the held-out rows of a fit.
    """

    confidence: float
    percentile: int
    factor: float
    typical: float
    networks: int
    shown: float
    by_noise: bool
    held_out: bool = False
    scatter_pct: float = 0.0

    @property
    def text(self) -> str:
        """One line for people."""
        kind = "held-out" if self.held_out else "check"
        why = "the noise floor asks for it" if self.by_noise else f"from {self.networks} {kind} networks"
        return f"{100 * (self.factor - 1):+.1f} % for {100 * self.confidence:g} % of networks, {why}"

    @property
    def shortfall(self) -> str:
        """A sentence where there are too few check networks for the confidence; empty where not."""
        if self.shown >= self.confidence:
            return ""
        needed = ceil(self.confidence / (1 - self.confidence) - 1e-9)
        has = "its fit has held out" if self.held_out else "its certificate has"
        return (
            f"{has} {self.networks} networks, which show {100 * self.shown:.0f} % at most, not"
            f" {100 * self.confidence:g} % ({needed} are needed): the largest error seen is the margin."
        )


def margin(table: LatencyTable, confidence: float = CONFIDENCE, percentile: int = 50) -> Margin | None:
    """The margin of a table for a budget on a percentile of single inferences; None where no network says it.

    Of n networks the ceil((n + 1) * confidence)-th smallest of measured over predicted is a bound for the
    next network with that confidence, whatever the distribution; beyond n the largest stands in. The
    percentile is that of each network's own rounds. Never below what repeating a measurement differs by:
    a noise floor f (mean difference of two halves) makes a standard deviation of f sqrt(pi) / (2 sqrt(2)).
    The networks are the certificate's, or the held-out rows of a fit.
    """
    fit, certificate = table.protocol.fit, table.certificate
    if fit and fit.held_out and fit.held_out.predicted_ms:
        ratios, bound = _of_held_out(fit.held_out, confidence)
    else:
        known = (
            [network for network in certificate.networks if network.predicted_ms > 0] if certificate else []
        )
        ratios = sorted(_ratio(network, table.statistic, percentile) for network in known)
        bound = _bound(ratios, confidence) if ratios else 0.0
    if not ratios:
        return None
    sigma = certificate.noise_floor_pct / 100 * sqrt(pi / 8) if certificate else 0.0
    noise = 1 + max(0.0, NormalDist().inv_cdf(confidence)) * sigma
    return Margin(
        confidence,
        percentile,
        max(bound, noise),
        median(ratios),
        len(ratios),
        min(confidence, len(ratios) / (len(ratios) + 1)),
        noise > bound,
        bool(fit and fit.held_out),
        _scatter_pct(ratios, sigma),
    )


def beyond_the_rows(table: LatencyTable, predicted_ms: float) -> str:
    """A sentence where a prediction lies outside those of the rows a table was fitted to; empty else.

    Nothing is known of sums there, and a search for the fastest networks goes there first.
    """
    fit = table.protocol.fit
    if fit is None or fit.held_out is None or not fit.held_out.predicted_ms:
        return ""
    rows = fit.held_out.predicted_ms
    low, high = min(rows), max(rows)
    if low <= predicted_ms <= high:
        return ""
    which = "faster" if predicted_ms < low else "slower"
    return (
        f"{predicted_ms:.4g} ms is {which} than all networks that it was fitted to ({low:.4g} to {high:.4g}"
        " ms by its own predictions): nobody checked how far it is off there, no margin says it."
    )


def _of_held_out(rows: HeldOutLatencies, confidence: float) -> tuple[list[float], float]:
    """Measured over predicted of the held-out rows, sorted, and their bound.

    One standard error of the quantile is added, because these rows are all that is known of the table, and
    each third of the rows by their prediction is kept under the budget as well.
    """
    pairs = sorted(zip(rows.predicted_ms, rows.measured_ms, strict=True))
    ratios = [measured / predicted for predicted, measured in pairs]
    bound, count = _bound(sorted(ratios), confidence, errors=1.0), len(ratios)
    if count >= _PARTS * _LEAST_PART:
        edges = [count * part // _PARTS for part in range(_PARTS + 1)]
        parts = [sorted(ratios[low:high]) for low, high in pairwise(edges)]
        bound = max(bound, *(_bound(part, confidence) for part in parts))
    return sorted(ratios), bound


def _bound(ratios: Sequence[float], confidence: float, errors: float = 0.0) -> float:
    """The smallest of sorted `ratios` that bounds the next one, with so many standard errors to spare."""
    count = len(ratios)
    place = (count + 1) * confidence + errors * sqrt(count * confidence * (1 - confidence))
    return ratios[min(ceil(place - 1e-9), count) - 1]


def _scatter_pct(ratios: Sequence[float], noise: float) -> float:
    """The standard deviation of the ratios by the quantiles that a normal distribution has there.

    Without that of their measurements, the `noise`; and at least half of it.
    """
    low, high = (quantile(tuple(ratios), NormalDist().cdf(sigma)) for sigma in (-1, 1))
    seen = log(high / low) / 2
    return 100 * max(sqrt(max(0.0, seen**2 - noise**2)), seen / 2)


def _ratio(network: NetworkLatency, statistic: str, percentile: int) -> float:
    """A percentile of a network's rounds over its prediction."""
    return network.measured_ms / network.predicted_ms * _shape(network.measurement, statistic, percentile)


def _shape(measurement: Measurement, statistic: str, percentile: int) -> float:
    """How far a percentile of the rounds lies above the table's statistic of them."""
    if statistic not in STATISTICS or len(measurement.rounds_ns) < 2:
        return 1.0
    return quantile(measurement.rounds_ns, percentile / 100) / 1e6 / measurement.value_ms(statistic)
