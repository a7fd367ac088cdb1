"""How good a latency table is: the findings that its certificate and its protocol give rise to.

A certificate holds networks that were predicted, built and timed. Where they do not get slower as the table
says, the table picks networks at random; where they scatter, a network predicted at the budget misses it
half of the time. `margin` says by how much to stay below a budget for that.

Nothing here reads a clock or a table file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from statistics import NormalDist, median

from ponas_deploy.errors import MeasurementError
from ponas_deploy.files.findings import Finding
from ponas_deploy.machines.advice import command_for
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_quality import accuracy_findings
from ponas_deploy.tables.latency import SCALED, Certificate, LatencyTable
from ponas_deploy.tables.margin import margin
from ponas_deploy.tables.measured_how import FitSummary
from ponas_deploy.tables.measurement import Measurement, quantile

CERTIFIED_ERROR_PCT, CERTIFIED_TAU = 3.0, 0.97
"""A certificate worse than this asks for more measurements (bound of the mean error, rank correlation)."""

HOPELESS_ERROR_PCT, HOPELESS_TAU = 30.0, 0.5
"""A table worse than this chooses hardly better than chance."""

FITTED_TAU = 0.8
"""Below this rank correlation of held-out networks a fit asks for care; their noise is in it."""

TAIL_PCT = 20.0
"""Where one network in twenty is further off than this, its prediction is no basis for a budget."""

NOISY_PCT = 5.0
"""Above this noise floor a certificate says as much about the machine's other work as about the table."""

DRIFT_PCT = 5.0
"""A machine that became this much faster or slower while it was measured was two machines."""

_LEAST_ROUNDS = 6
_ALIKE = 4.0
"""Networks whose latencies span less than so many noise floors are all one."""


def quality_findings(table: LatencyTable) -> tuple[Finding, ...]:
    """What the table's own certificate and protocol say against its predictions; none for a sound table.

    An "error" makes the predictions useless, with a "warning" they are to be used with care.
    """
    if table.estimated:
        measures = _command("ponas profile", table)
        advice = f"{measures} measures it; a few of its networks scale it (--scale-by)."
        return (Finding("warning", "latencies", f"{table.estimated}.", advice),)
    fit = table.protocol.fit
    if fit and not table.certificate:
        by_whom = _of_held_out(fit)
    else:
        by_whom = _of_certificate(table.certificate, table)
    return (*_of_rounds(table), *by_whom, *_of_protocol(table))


def mostly_disturbed(table: LatencyTable) -> str:
    """`8 of 10 rounds were disturbed (why)`, where more than half were; empty for other tables."""
    rounds = table.protocol.interference
    if rounds is None or 2 * rounds.wrong_rounds <= rounds.kept_rounds:
        return ""
    because = rounds.wrong_because or "no reason is given"
    return f"{rounds.wrong_rounds} of {rounds.kept_rounds} rounds were disturbed ({because})"


def made_while_busy(name: str, table: LatencyTable) -> str:
    """That a table is of a machine that was busy, and how far off it is; empty for other tables."""
    if not (text := mostly_disturbed(table)):
        return ""
    proof = table.certificate
    error = f"; mean error {proof.mean_error_pct:.1f} %" if proof else ""
    return f"{name} was made while the machine was busy: {text}{error}"


def _command(command: str, table: LatencyTable) -> str:
    """A command about the device of a table."""
    return command_for(command, table.conditions.device if table.conditions else "")


def _of_rounds(table: LatencyTable) -> Iterator[Finding]:
    """What disturbed the rounds that everything else was measured in."""
    if text := mostly_disturbed(table):
        advice = f"Profile again when that is over ({_command('ponas doctor', table)})."
        yield Finding("warning", "protocol", f"{text}.", advice)


def _of_certificate(certificate: Certificate | None, table: LatencyTable) -> Iterator[Finding]:
    if certificate is None and table.correction and table.correction.method == SCALED:
        yield Finding(
            "note", "certificate", "is absent: its space has one network, which the values add up to."
        )
        return
    if certificate is None:
        message = "is absent: nobody checked how well these sums predict a whole network."
        advice = f"{_command('ponas profile', table)} makes a table with one."
        yield Finding("note", "certificate", message, advice)
        return
    doctor = _command("ponas doctor", table)
    yield from _of_mean_error(certificate, doctor)
    yield from _of_rank_correlation(certificate, doctor)
    if certificate.noise_floor_pct > NOISY_PCT:
        message = (
            f"noise floor {certificate.noise_floor_pct:.1f} %: the machine was busy while it was measured."
        )
        advice = f"{doctor} says why; profile again when that is over."
        yield Finding("warning", "certificate", message, advice)


def _of_held_out(fit: FitSummary) -> Iterator[Finding]:
    """What a fit said of networks that it had no part in, where that stands for a certificate."""
    tau, interval = fit.tau, f"{fit.tau_low:.2f} to {fit.tau_high:.2f}"
    figures = (
        f"held-out networks: rank correlation {tau:.2f} ({interval}), mean error {fit.mean_error_pct:.3g} %"
    )
    advice = "Fit more networks, or measure what is chosen."
    if fit.tau_low <= 0:
        message = f"{figures}: the correlation may be zero, and what is chosen no better than chance."
        yield Finding("error", "fit", message, advice)
    elif tau < HOPELESS_TAU:
        message = f"{figures}: it hardly tells a fast network from a slow one."
        yield Finding("error", "fit", message, advice)
    elif fit.mean_error_pct > HOPELESS_ERROR_PCT:
        yield Finding("error", "fit", f"{figures}: sums do not predict networks here.", advice)
    elif fit.mean_error_pct > CERTIFIED_ERROR_PCT or tau < FITTED_TAU:
        yield Finding(
            "warning", "fit", f"{figures}: networks that are predicted close may swap places.", advice
        )
    else:
        yield Finding("note", "fit", f"{figures}.")


def _of_mean_error(certificate: Certificate, doctor: str) -> Iterator[Finding]:
    error, bound = certificate.mean_error_pct, certificate.error_bound_pct
    if bound <= CERTIFIED_ERROR_PCT:
        return
    few = f", by {len(certificate.networks)} networks perhaps {bound:.1f} %"
    figures = f"mean error {error:.1f} %{few if error <= CERTIFIED_ERROR_PCT else ''}"
    message = f"{figures} (noise floor {certificate.noise_floor_pct:.1f} %):"
    if error > HOPELESS_ERROR_PCT:
        cause, advice = _cause(certificate, doctor)
        message = f"{message} sums of blocks do not predict networks here; {cause}."
        yield Finding("error", "certificate", message, advice)
    else:
        message = f"{message} more than {CERTIFIED_ERROR_PCT:g} %."
        advice = "Profile with more networks, with one thread, or ask for budgets with that much to spare."
        yield Finding("warning", "certificate", message, advice)


def _of_rank_correlation(certificate: Certificate, doctor: str) -> Iterator[Finding]:
    tau = certificate.kendall_tau
    message = f"rank correlation {tau:.2f} (noise alone allows {certificate.noise_tau:.2f}):"
    if tau < HOPELESS_TAU:
        cause, advice = _cause(certificate, doctor)
        message = f"{message} it hardly tells a fast network from a slow one; {cause}."
        yield Finding("error", "certificate", message, advice)
    elif tau < CERTIFIED_TAU:
        message = f"{message} networks that are predicted close may swap places."
        yield Finding("warning", "certificate", message, "Measure a few of the best.")


def _cause(certificate: Certificate, doctor: str) -> tuple[str, str]:
    """The likeliest reason of a hopeless certificate, and what to do."""
    measured = [network.measured_ms for network in certificate.networks]
    if measured and 100 * (max(measured) / min(measured) - 1) < _ALIKE * certificate.noise_floor_pct:
        return (
            f"all of them take {min(measured):.3g} to {max(measured):.3g} ms, so what a network is made of"
            " hardly matters on this device (each run costs more than its work)",
            "Profile larger images or batches.",
        )
    if certificate.noise_tau < CERTIFIED_TAU - 0.1:
        return "the machine was too noisy to tell", f"See {doctor}, and profile again on a quieter one."
    return "additivity fails on this device", "Measure whole networks and fit them (`ponas table fit`)."


def _of_protocol(table: LatencyTable) -> Iterator[Finding]:
    """What happened while it was measured: drift, and what a fit from whole networks said of itself."""
    change_pct = drift_pct(table)
    if change_pct is not None and abs(change_pct) > DRIFT_PCT:
        became = "slower" if change_pct > 0 else "faster"
        message = (
            f"drift: the machine became {abs(change_pct):.0f} % {became} from the first third of the rounds"
            " to the last."
        )
        advice = f"Profile again when it is steady ({_command('ponas doctor', table)})."
        yield Finding("warning", "protocol", message, advice)
    prior, fit = table.protocol.prior, table.protocol.fit
    if prior and prior.finding:
        yield Finding("warning", "protocol", prior.finding)
    if fit:
        if (fit.p95_error_pct or 0.0) > TAIL_PCT:
            message = f"one held-out network in twenty is off by {fit.p95_error_pct:.0f} % or more."
            yield Finding("warning", "fit", message, "Measure what is chosen by this table.")
        said = {"drift": fit.drift, "additive": not fit.additive, "identified": not fit.identified}
        yield from (Finding("warning", "protocol", _FITTED[name]) for name, wrong in said.items() if wrong)


_FITTED = {
    "drift": "drift: the residuals follow the order of the rows it was fitted to: the machine changed.",
    "additive": "additivity fails: sums of blocks do not explain the networks it was fitted to.",
    "identified": "the networks it was fitted to cannot tell some of its candidates apart.",
}
"""What is to be said of the networks that a table was fitted to."""


def drift_pct(table: LatencyTable) -> float | None:
    """How much slower the last third of the rounds was than the first, over all cells; None without rounds.

    Every round visits every cell, so the median over cells of a round's value, relative to the cell's own
    median, is how fast the machine was in that round.
    """
    by_round = _by_round([measurement for _, measurement in table.measurements])
    if not by_round:
        return None
    third = len(by_round) // 3
    return float(100 * (median(by_round[-third:]) / median(by_round[:third]) - 1))


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
    of the machine around each sample (`detrend`) and, because networks can vary more than blocks do, from
    whole networks round by round; 0 where neither was recorded.
    """
    networks = [
        network for part in (table.certificate, table.correction) if part for network in part.networks
    ]
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


def usable_tables(
    tables: Mapping[str, LatencyTable], *, confidence: float | None, promise: bool
) -> tuple[frozenset[str], tuple[str, ...]]:
    """The names of the tables to choose with, and the warnings about each.

    A hopeless table is left out where another one is not. Where all are, and the prediction alone would be
    the `promise`, they are refused: MeasurementError. Where engines are measured, or nothing is promised, one
    is used all the same: whatever it picks is built and timed, so the latency holds, and only "the best" is
    no longer known. With a `confidence` there is also a warning where no margin gives that.
    """
    found = [(name, finding) for name, table in tables.items() for finding in quality_findings(table)]
    sound = frozenset(tables) - {name for name, finding in found if finding.severity == "error"}
    warnings = tuple(
        f"{name}: {finding.about}: {finding.text}"
        + (_consequence(bool(sound)) if finding.severity == "error" else "")
        for name, finding in found
    )
    if tables and promise and not sound:
        first = next(text for text, (_, one) in zip(warnings, found, strict=True) if one.severity == "error")
        raise MeasurementError(f"{first} No engine is promised by such a table: make it again.")
    kept = sound or frozenset(tables)
    short = [(name, _shortfall(tables[name], confidence)) for name in sorted(kept) if confidence]
    return kept, (*warnings, *(f"{name}: {text}" for name, text in short if text))


def table_warnings(
    latencies: Mapping[str, LatencyTable], accuracy: AccuracyTable | None = None
) -> tuple[str, ...]:
    """What speaks against tables that are used as they are, by their names; the worst first."""
    found = [(name, finding) for name, table in latencies.items() for finding in quality_findings(table)]
    if accuracy:
        found += [("the accuracy table", finding) for finding in accuracy_findings(accuracy)]
    found = [(name, finding) for name, finding in found if finding.severity in ("error", "warning")]
    found.sort(key=lambda one: one[1].severity != "error")
    return tuple(f"{name}: {finding.about}: {finding.text}" for name, finding in found)


def doubts(latencies: Mapping[str, LatencyTable], accuracy: AccuracyTable) -> tuple[str, ...]:
    """What makes a choice by these tables worthless: the first lines of whatever is said of it."""
    found = [(name, finding) for name, table in latencies.items() for finding in quality_findings(table)]
    found += [("the accuracy table", finding) for finding in accuracy_findings(accuracy)]
    return tuple(f"{name}: {finding.message}" for name, finding in found if finding.severity == "error")


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
