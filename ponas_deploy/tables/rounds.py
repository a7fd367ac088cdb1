"""What a measurement notes of itself, for its table: the interference in each round, all rounds, launches.

The measuring room makes these, so this file imports the standard library alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Round:
    """The interference in one round; percentages are of the time of the cores that this process may use.

    `core_ns` is what a fixed piece of arithmetic takes while nobody shares the core (`contention`),
    `shared_pct` how many samples met a shared core, `contended_pct` how many were kept although it still was.
    `held` names what throttled processor or GPU. `wrong` says what was too much, empty where nothing was.
    Load, governor, affinity, power mode and `gpu_clocks`, those that a GPU's governor may choose from
    (`306-1020 MHz`, `1020 MHz` where it is locked), are those at its end. `gpu_mean_clock_mhz` is the mean
    over the round, where the governor may choose and the kernel counts the time at each clock. One that was
    taken `again` stands in place of those before of its number.
    """

    number: int
    others_pct: float = 0.0
    stolen_pct: float = 0.0
    quota_pct: float = 0.0
    asleep_s: float = 0.0
    core_ns: float | None = None
    shared_pct: float = 0.0
    contended_pct: float = 0.0
    clock_mhz: float | None = None
    gpu_clock_mhz: float | None = None
    gpu_mean_clock_mhz: float | None = None
    gpu_memory_clock_mhz: float | None = None
    gpu_power_w: float | None = None
    temperature_c: float | None = None
    load: float | None = None
    governor: str = ""
    affinity: str = ""
    power_mode: str = ""
    gpu_clocks: str = ""
    held: tuple[str, ...] = ()
    wrong: str = ""
    discarded: bool = False
    again: bool = False


@dataclass(frozen=True)
class Spread:
    """One figure over all rounds."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Of the values of the rounds, to four digits; None where all of them are zero."""
        if not any(values):
            return None
        return cls(*(float(f"{value:.4g}") for value in (median(values), min(values), max(values))))


@dataclass(frozen=True)
class InterferenceSummary:
    """All rounds of a measurement.

    `wrong_rounds` of the `kept_rounds` were kept although something was wrong, `wrong_because` says what it
    was in the latest of them; `discarded_rounds` were taken again. The figures are over the rounds that were
    kept, None where nobody read them or all are zero.
    """

    kept_rounds: int = 0
    wrong_rounds: int = 0
    discarded_rounds: int = 0
    wrong_because: str = ""
    others_pct: Spread | None = None
    stolen_pct: Spread | None = None
    quota_pct: Spread | None = None
    asleep_s: Spread | None = None
    core_ns: Spread | None = None
    shared_pct: Spread | None = None
    contended_pct: Spread | None = None
    clock_mhz: Spread | None = None
    gpu_clock_mhz: Spread | None = None
    gpu_mean_clock_mhz: Spread | None = None
    gpu_memory_clock_mhz: Spread | None = None
    gpu_power_w: Spread | None = None
    temperature_c: Spread | None = None
    load: Spread | None = None

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> InterferenceSummary:
        """Of the rounds of a measurement, in their order."""
        kept = [one for one in rounds if not one.discarded]
        wrong = [one.wrong for one in kept if one.wrong]
        spreads: dict[str, Any] = {
            name: Spread.of([getattr(one, name) or 0.0 for one in kept]) for name in SPREADS
        }
        because = wrong[-1] if wrong else ""
        return cls(len(kept), len(wrong), len(rounds) - len(kept), because, **spreads)


@dataclass(frozen=True)
class LaunchSummary:
    """Launches of a GPU: the median one's microseconds, and how many of the blocks take less than that."""

    launch_us: float
    bound_blocks: int
    blocks: int


SPREADS = tuple(field.name for field in fields(InterferenceSummary) if "Spread" in str(field.type))
"""The figures of a round that are summed up."""


def usual_core_ns(rounds: Sequence[Round]) -> float:
    """What the core's arithmetic took at best in a table's rounds; 0 where it was not probed."""
    return min((one.core_ns for one in rounds if one.core_ns), default=0.0)
