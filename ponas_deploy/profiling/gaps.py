"""A profile of a busy machine goes on in the gaps: disturbed rounds are taken again, for a bounded time.

The bound is a share of the time that was asked for (`Retries.extra_time_share`), divided among the waves of
networks, and what is left of that time where measuring ended before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ponas_deploy.backends import Session, registry
from ponas_deploy.machines.advice import doctor_command
from ponas_deploy.measuring.disturbed import Extension, take_disturbed_again
from ponas_deploy.measuring.interference import Disturbed, Interference, Snapshot
from ponas_deploy.measuring.protocol import Samples, take_round_again
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.profiling.bench import Bench


@dataclass(frozen=True, slots=True)
class Measured:
    """A wave that was measured: its sessions and samples, the `numbers` of its rounds, seconds of one."""

    sessions: Mapping[str, Session]
    samples: Samples
    interference: Interference
    numbers: range
    round_s: float
    seed: int


def in_gaps(bench: Bench, measured: Measured, spare_s: float, waves: int) -> float:
    """Take disturbed rounds again where most were disturbed; the seconds beyond the `spare_s` that were left.

    The deadline of the profile moves by as much. A runtime that is not real is disturbed by nothing.
    """
    if not registry.is_real(bench.backend.name):
        return 0.0
    spare_s = max(0.0, spare_s)

    def take(number: int) -> tuple[Snapshot, Snapshot] | None:
        return take_round_again(
            measured.sessions,
            {**bench.runs, **measured.samples.runs},
            measured.samples,
            bench.plan,
            number,
            seed=measured.seed,
            on_visit=bench.running,
            probe=bench.probe,
            taker=bench.taker(measured.samples),
        )

    took_s = take_disturbed_again(
        measured.interference,
        measured.numbers,
        take,
        Extension(
            spare_s + RETRIES.extra_time_share * bench.asked_s / waves,
            lambda found, left_s: _begin(bench, found, left_s),
            lambda found, left_s: _report(bench, found, left_s),
        ),
        round_s=measured.round_s,
        clock=time.monotonic,
    )
    beyond_s = max(0.0, took_s - spare_s)
    bench.deadline += beyond_s
    return beyond_s


def _begin(bench: Bench, found: Disturbed, left_s: float) -> None:
    """Say that most rounds were disturbed, what is done about it, and what else can be."""
    note = (
        f"{found.text}: going on for at most {left_s:.0f} s, to take them again in the gaps. Or end this"
        f" (Ctrl-C), stop what disturbs ({doctor_command(bench.board)} says what), and run the same command"
        " again: it goes on from here."
    )
    _report(bench, found, left_s, note)


def _report(bench: Bench, found: Disturbed, left_s: float, note: str = "") -> None:
    bench.report(
        "measure",
        found.kept - len(found.rounds),
        found.kept,
        f"{found.text}: taking them again in the gaps",
        at_least_s=left_s,
        at_most_s=left_s,
        note=note,
    )
