"""Whether a measured latency meets a budget, where timings of one engine differ by some noise.

The one place that says it, for a search and for a verification. The noise is how far two timings of the same
engine lie apart, in percent of the smaller one, so what is measured as m may be anything from m / (1 + noise)
to m * (1 + noise).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from ponas_deploy.machines.advice import doctor_command, is_this_processor
from ponas_deploy.measuring.contention import SHARED_FACTOR

Verdict: TypeAlias = Literal["met", "missed", "cannot_be_told"]
MET: Verdict = "met"
MISSED: Verdict = "missed"
CANNOT_BE_TOLD: Verdict = "cannot_be_told"

TELLING_NOISE_PCT = 100 * (SHARED_FACTOR - 1)
"""Up to this noise (25 %) a budget counts as met within the noise. The clocks of a core explain no more:
beyond it something else had the core while an engine was timed, and the time is not the engine's alone."""
MOST_NOISE_PCT = 100.0
"""Above this noise the noise itself is not known: of two timings of one engine one took more than twice as
long as the other, which is more than a neighbour on the core costs (1.3 to 1.8 times), so that a third may
take as much longer again. It counts twice then."""


def judge(measured_ms: float, budget_ms: float | None, noise_pct: float) -> Verdict | None:
    """Whether `measured_ms` meets a budget; None without one.

    Over the budget by more than the noise is missed, at any noise. Up to TELLING_NOISE_PCT everything else is
    met. Above it only what the noise cannot take over the budget is met, above MOST_NOISE_PCT only what
    twice the noise cannot (an engine of 5 ms and a budget of a second); the rest cannot be told.
    """
    if budget_ms is None:
        return None
    factor = 1 + noise_pct / 100
    if measured_ms > budget_ms * factor:
        return MISSED
    at_most_ms = measured_ms * (factor if noise_pct <= MOST_NOISE_PCT else factor**2)
    if noise_pct <= TELLING_NOISE_PCT or at_most_ms <= budget_ms:
        return MET
    return CANNOT_BE_TOLD


def why_not_told(measured_ms: float, budget_ms: float, noise_pct: float, device: str) -> str:
    """A sentence for a verdict that cannot be told on a device, and what makes it possible to tell."""
    or_wait = "or wait until it is over"
    if is_this_processor(device):
        or_wait += ", or keep to a free core (`taskset -c N ponas ...`)"
    return (
        f"Whether {measured_ms:.4g} ms meet {budget_ms:.4g} ms cannot be told: two timings of one engine"
        f" differ by {noise_pct:.0f} %. {doctor_command(device)} says what disturbs the device; stop that,"
        f" {or_wait}, and measure again."
    )
