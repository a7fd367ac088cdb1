"""How good an accuracy table is: the findings that its certificate, and the fit that made it, give rise to.

Where the interval of its rank correlation holds zero, the network of least loss is any network; where the
correlation is low, many pairs of networks are in the wrong order. Of two networks drawn at random the share
(1 + tau) / 2 is in the right one (Kendall, Biometrika 30, 1938).

Pure: no clock, no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ponas_deploy.files.findings import Finding
from ponas_deploy.tables.accuracy import AccuracyCertificate, AccuracyTable

LOW_TAU = 0.5
"""Below this rank correlation a quarter of all pairs of networks are in the wrong order, or more."""

IDENTIFIED, ADDITIVE, DRIFT = "identified", "additive", "drift"
"""Details of a fitted table, "yes" or "no": what `ponas table fit --json` says by the same names."""

HELD_OUT = "held out"
"""The method of a certificate that a fit made from rows it had no part in."""

_FITTED = {
    (DRIFT, "yes"): "the residuals follow the order of the rows it was fitted to: the machine changed.",
    (ADDITIVE, "no"): "sums of layers do not explain the networks it was fitted to.",
    (IDENTIFIED, "no"): "the networks it was fitted to cannot tell some of its candidates apart.",
}


def accuracy_findings(table: AccuracyTable) -> tuple[Finding, ...]:
    """What the table's own certificate and fit say against choosing by it; none for a sound table.

    An "error" makes a choice by it worthless, with a "warning" it is to be used with care.
    """
    certificate = table.certificate
    return (*(_of_certificate(certificate) if certificate else ()), *_of_fit(table))


def accuracy_warnings(table: AccuracyTable) -> tuple[str, ...]:
    """The same as sentences that name the table."""
    return tuple(
        f"the accuracy table: {finding.about}: {finding.text}" for finding in accuracy_findings(table)
    )


def top1_warnings(
    table: AccuracyTable, losses_pp: Sequence[float], resolutions: Iterable[int]
) -> tuple[str, ...]:
    """What is to be said of the predicted top-1 of networks by their losses, in sentences; none without any.

    `resolutions` are the sides of the networks' input in pixels, as far as they are known.
    """
    ends = [table.predicted_top1(loss_pp) for loss_pp in sorted({min(losses_pp), max(losses_pp)})]
    found = [top1 for top1 in ends if top1]
    beyond = {top1.beyond: top1.pct for top1 in reversed(found) if top1.beyond}
    said = [f"a predicted top-1 of {pct:.2f} % is {text}." for text, pct in beyond.items()]
    made_at = table.resolution or (table.origin.resolution if table.origin else None)
    other = sorted({f"{px} px" for px in resolutions if found and made_at and px != made_at})
    if other:
        said.append(
            f"top-1 is predicted at {made_at} px; of networks at {' and '.join(other)} it is another."
        )
    return tuple(f"the accuracy table: {text}" for text in said)


def _of_certificate(certificate: AccuracyCertificate) -> Iterator[Finding]:
    tau, low, high = certificate.kendall_tau, certificate.kendall_tau_low, certificate.kendall_tau_high
    figures = f"rank correlation {tau:.2f} ({low:.2f} to {high:.2f}, {certificate.networks} networks):"
    if low <= 0:
        message = f"{figures} it may be zero, so a choice by this table may be no better than chance."
        yield Finding("error", "certificate", message, "Evaluate more networks, or take another table.")
    elif tau < LOW_TAU:
        wrong = f"{50 * (1 - tau):.0f} of 100 pairs of networks are in the wrong order."
        advice = "Evaluate the best few (`--shortlist`), or take another table."
        yield Finding("warning", "certificate", f"{figures} {wrong}", advice)


def _of_fit(table: AccuracyTable) -> Iterator[Finding]:
    for key, value in table.origin.details if table.origin else ():
        if (key, value) in _FITTED:
            yield Finding("warning", "fit", f"{key}: {value}: {_FITTED[key, value]}")
