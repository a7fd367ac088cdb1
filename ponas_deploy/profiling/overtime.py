"""The time that was asked for is kept: what a certified table needs at least is compared with it beforehand.

Fewer rounds and networks than a certificate needs are never taken, so a slow machine takes longer than it was
given. How much longer is said before it does, and it has a bound: beyond that the profile stops and names the
time to ask for. Runtimes that search kernels for each model are slow by nature: that is said, and no more.
"""

from __future__ import annotations

from math import ceil

from ponas_deploy.errors import MeasurementError
from ponas_deploy.profiling.build_time import in_time

MOST_TIMES, MOST_BEYOND_S = 4.0, 300.0
"""A profile takes at most so many times what was asked for, or so many seconds more where that is longer."""
_SAID_SHARE, _SAID_S = 0.25, 10.0
"""What is beyond the time by less than this share of it, or these seconds, is not worth a sentence."""


def most_s(asked_s: float) -> float:
    """The seconds that a profile takes at most, all in all, where it was asked to take `asked_s`."""
    return max(MOST_TIMES * asked_s, asked_s + MOST_BEYOND_S)


def overtime_note(total_s: float, asked_s: float, *, bounded: bool = True) -> str:
    """What to say where a profile needs `total_s` at least; empty where that is about what was asked for."""
    if total_s - asked_s <= max(_SAID_SHARE * asked_s, _SAID_S):
        return ""
    until = (
        f"for at most {in_time(most_s(asked_s))}"
        if bounded
        else "without a bound (--prior needs fewer models)"
    )
    return f"{_needed(total_s, asked_s)}: going on, {until}."


def refuse_overtime(total_s: float, asked_s: float) -> None:
    """MeasurementError where a profile that needs `total_s` at least is far beyond what was asked for."""
    if total_s <= most_s(asked_s):
        return
    raise MeasurementError(
        f"{_needed(total_s, asked_s)}: ask for --time {_as_option(total_s)}, or for a smaller --resolution,"
        " or start from another table (--prior). What was measured is kept, and the same command goes on from"
        " there."
    )


def _needed(total_s: float, asked_s: float) -> str:
    return f"a certified table needs about {in_time(total_s)} here, and {in_time(asked_s)} were asked for"


def _as_option(seconds: float) -> str:
    """A little more than so long, as --time takes it."""
    return f"{ceil(1.1 * seconds)}s" if seconds < 120 else f"{ceil(1.1 * seconds / 60)}min"
