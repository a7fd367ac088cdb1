"""How far a latency table can be trusted: the doubts its certificate raises, and the margin it asks for.

A certificate holds networks that were predicted, built and timed. Where they do not get slower as the table
says, the table picks networks at random; where they scatter, a network predicted at the budget misses it
half of the time. So doubts are said in words, and a search with a confidence divides the budget by what
that share of the certificate's networks measured at most over their prediction (split conformal prediction:
Vovk, Gammerman and Shafer, 2005; Lei and others, J. Am. Stat. Assoc. 113, 2018).

Pure: no clock, no files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, median
from typing import Literal, TypeAlias

from ponas_deploy.errors import MeasurementError
from ponas_deploy.tables import Certificate, LatencyTable, Measurement
from ponas_deploy.tables.margin import margin
from ponas_deploy.tables.measurement import quantile

Severity: TypeAlias = Literal["error", "warning", "note"]


CERTIFIED_ERROR_PCT, CERTIFIED_TAU = 3.0, 0.97
"""A certificate worse than this asks for more measurements (bound of the mean error, rank correlation)."""

HOPELESS_ERROR_PCT, HOPELESS_TAU = 30.0, 0.5
"""A table worse than this chooses hardly better than chance."""

NOISY_PCT = 5.0
"""Above this noise floor a certificate says as much about the machine's other work as about the table."""

DRIFT_PCT = 5.0
"""A machine that became this much faster or slower while it was measured was two machines."""

_LEAST_ROUNDS = 6
_ALIKE = 4.0
"""Networks whose latencies span less than so many noise floors are all one."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason to believe a table less.

    An "error" makes its predictions useless, with a "warning" they are to be used with care, a "note" says
    what nobody knows. `about` is the part of the table.
    """

    severity: Severity
    about: str
    message: str


def doubts(table: LatencyTable) -> tuple[Doubt, ...]:
    """Every reason that the table itself gives to doubt what it predicts; none for a sound one."""
    proof = table.certificate
    if proof is None:
        message = "is absent: nobody checked how well these sums predict a whole network."
        own = [Doubt("note", "certificate", f"{message} `ponas profile` makes a table with one.")]
    else:
        own = [Doubt(severity, "certificate", message) for severity, message in _of_certificate(proof)]
    return (*own, *(Doubt("warning", "protocol", message) for message in _of_protocol(table)))


def _of_certificate(proof: Certificate) -> Iterator[tuple[Severity, str]]:
    error, tau, bound = proof.mean_error_pct, proof.kendall_tau, proof.error_bound_pct
    if bound > CERTIFIED_ERROR_PCT:
        few = (
            f", by {len(proof.networks)} networks perhaps {bound:.1f} %"
            if error <= CERTIFIED_ERROR_PCT
            else ""
        )
        message = f"mean error {error:.1f} %{few} (noise floor {proof.noise_floor_pct:.1f} %):"
        advice = "profile with more networks, with one thread, or ask for budgets with that much to spare."
        if error > HOPELESS_ERROR_PCT:
            yield "error", f"{message} sums of blocks do not predict networks here; {_cause(proof)}."
        else:
            yield "warning", f"{message} {advice}"
    if tau < CERTIFIED_TAU:
        message = f"rank correlation {tau:.2f} (noise alone allows {proof.noise_tau:.2f}):"
        if tau < HOPELESS_TAU:
            yield "error", f"{message} it hardly tells a fast network from a slow one; {_cause(proof)}."
        else:
            advice = "networks that are predicted close may swap places; measure a few of the best."
            yield "warning", f"{message} {advice}"
    if proof.noise_floor_pct > NOISY_PCT:
        yield (
            "warning",
            f"noise floor {proof.noise_floor_pct:.1f} %: the machine was busy or restless while it was"
            " measured. `ponas doctor` says why; profile again when that is over.",
        )


def _cause(proof: Certificate) -> str:
    """The likeliest reason of a hopeless certificate, and what to do."""
    measured = [network.measured_ms for network in proof.networks]
    if measured and 100 * (max(measured) / min(measured) - 1) < _ALIKE * proof.noise_floor_pct:
        return (
            f"all of them take {min(measured):.3g} to {max(measured):.3g} ms, so what a network is made of"
            " hardly matters on this device (each run costs more than its work): profile larger images or"
            " batches"
        )
    if proof.noise_tau < CERTIFIED_TAU - 0.1:
        return "the machine was too noisy to tell: see `ponas doctor`, and profile again on a quieter one"
    return "additivity fails on this device: measure whole networks and fit them (`ponas table fit`)"


def _of_protocol(table: LatencyTable) -> Iterator[str]:
    """What happened while it was measured: drift, and what a fit from whole networks said of itself."""
    wandered = drift_pct(table)
    if wandered is not None and abs(wandered) > DRIFT_PCT:
        became = "slower" if wandered > 0 else "faster"
        yield (
            f"drift: the machine became {abs(wandered):.0f} % {became} from the first third of the rounds to"
            " the last. Profile again when it is steady (`ponas doctor`)."
        )
    said = dict(table.protocol)
    wrong, _, rounds = said.get("wrong_rounds", "").partition(" of ")
    if wrong.isdigit() and rounds.isdigit() and 2 * int(wrong) > int(rounds):
        yield (
            f"{wrong} of {rounds} rounds were disturbed ({said.get('wrong_because', 'no reason is given')})."
            " Profile again when that is over (`ponas doctor`)."
        )
    if "prior_doubt" in said:
        yield said["prior_doubt"]
    if said.get("drift") == "yes":
        yield "drift: the residuals follow the order of the rows it was fitted to, so the machine changed."
    if said.get("additive") == "no":
        yield "additivity fails: sums of blocks do not explain the networks it was fitted to."
    if said.get("identified") == "no":
        yield "the networks it was fitted to cannot tell some of its candidates apart."


def drift_pct(table: LatencyTable) -> float | None:
    """How much slower the last third of the rounds was than the first, over all cells; None without rounds.

    Every round visits every cell, so the median over cells of a round's value, relative to the cell's own
    median, is the machine's weather in that round.
    """
    interference = _by_round([measurement for _, measurement in table.measurements])
    if not interference:
        return None
    third = len(interference) // 3
    return float(100 * (median(interference[-third:]) / median(interference[:third]) - 1))


def _by_round(measurements: Sequence[Measurement]) -> list[float]:
    """What a round took relative to the usual one, the median over what was timed; empty with few rounds."""
    measured = [measurement.rounds_ns for measurement in measurements]
    usual = Counter(map(len, measured)).most_common(1)
    if not usual or usual[0][0] < _LEAST_ROUNDS:
        return []
    rows = [rounds for rounds in measured if len(rounds) == usual[0][0]]
    relative = [[value / median(rounds) for value in rounds] for rounds in rows]
    return [median(column) for column in zip(*relative, strict=True)]


def reproducibility_pct(table: LatencyTable) -> float:
    """How far two measurements of one engine lie apart because the machine's speed is another by then.

    In percent, for 95 % of pairs of moments; the profile's minutes are what is known of it. From the level
    of the machine around each sample (`drift`) and, because networks can feel more of it than blocks do, from
    whole networks round by round; 0 where neither was recorded.
    """
    proof, correction = table.certificate, table.correction
    networks = (*(proof.networks if proof else ()), *(correction.networks if correction else ()))
    levels = [level for _, measurement in table.measurements for level in measurement.levels]
    rounds = _by_round([network.measurement for network in networks])
    deviation = max(_deviation(levels), _deviation(rounds))
    return 100 * sqrt(2) * NormalDist().inv_cdf(0.975) * deviation


def _deviation(values: Sequence[float]) -> float:
    """The standard deviation by the quantiles that a normal distribution has there; 0 of nothing."""
    if not values:
        return 0.0
    low, high = (quantile(tuple(values), NormalDist().cdf(sigma)) for sigma in (-1, 1))
    return (high - low) / 2


def trusted(
    tables: Mapping[str, LatencyTable], *, confidence: float | None, promise: bool
) -> tuple[frozenset[str], tuple[str, ...]]:
    """The names of the tables to choose with, and what is to be said of each.

    A hopeless table is left out where another one can be trusted. Where none can, and its prediction alone
    would be the `promise`, it is refused: MeasurementError. Where engines are measured, or nothing is
    promised, it is used all the same: whatever it picks is built and timed, so the latency holds, and only
    "the best" is no longer known. With a `confidence` it is also said where no margin gives that.
    """
    about = [(name, doubt) for name, table in tables.items() for doubt in doubts(table)]
    sound = frozenset(tables) - {name for name, doubt in about if doubt.severity == "error"}
    told = tuple(
        f"{name}: {doubt.about}: {doubt.message}"
        + (_consequence(bool(sound)) if doubt.severity == "error" else "")
        for name, doubt in about
    )
    if tables and promise and not sound:
        worst = next(text for text, (_, doubt) in zip(told, about, strict=True) if doubt.severity == "error")
        raise MeasurementError(f"{worst} No engine is promised by such a table: make it again.")
    kept = sound or frozenset(tables)
    short = [(name, _shortfall(tables[name], confidence)) for name in sorted(kept) if confidence]
    return kept, (*told, *(f"{name}: {text}" for name, text in short if text))


def _consequence(others: bool) -> str:
    if others:
        return " It is left out."
    return " Whether what it picks is the best is not known, and only measuring says how fast that is."


def _shortfall(table: LatencyTable, confidence: float) -> str:
    """Why the margin does not give the confidence; empty where it does."""
    found = margin(table, confidence)
    if found is None:
        return "no check networks, so no margin can be taken: chosen with the whole budget."
    return found.shortfall
