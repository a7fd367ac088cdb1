"""Quantities with units, as a person types them: `20ms`, `850us`, `60%`, `330M`, `12MB`.

A unit is required: a bare 20 could be anything, and a wrong guess finds a wrong network. What cannot
be read is a usage error (exit code 2) that says what can.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import typer

_MS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3}
LEAST_PROFILE_S = 5.0
_SECONDS = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}
_COUNT = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
_BYTES = {"B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2.0**10, "MIB": 2.0**20, "GIB": 2.0**30}


@dataclass(frozen=True, slots=True)
class LatencyBudget:
    """A latency that was asked for: in milliseconds, or in percent of the most that helps.

    The most that helps is the latency of the fastest network among those of least loss: a larger budget
    buys nothing.
    """

    amount: float
    unit: Literal["ms", "%"]

    def in_ms(self, most_ms: float) -> float:
        """The budget in milliseconds, where more than `most_ms` buys nothing."""
        return self.amount if self.unit == "ms" else most_ms * self.amount / 100

    @property
    def text(self) -> str:
        """As a person would write it: `20 ms`, `60 % of the most that helps`."""
        return f"{self.amount:g} ms" if self.unit == "ms" else f"{self.amount:g} % of the most that helps"


def parse_latency(text: str | LatencyBudget) -> LatencyBudget:
    """`20ms`, `850us`, `1.2s` or `60%`; typer.BadParameter for anything else."""
    if isinstance(text, LatencyBudget):
        return text
    number, unit = _split(text, "a latency such as 20ms, 850us, 1.2s or 60%")
    if unit == "%":
        return LatencyBudget(number, "%")
    if not unit:
        raise typer.BadParameter(f"'{text}' has no unit: write {text.strip()}ms, {text.strip()}us or so.")
    return LatencyBudget(_times(text, number, _factor(text, unit, _MS, "ns, us, ms, s or %")), "ms")


def parse_count(text: str | int) -> int:
    """`330M`, `1.2G`, `5100000`: MACs or parameters."""
    number, unit = _split(str(text), "a count such as 5.1M, 330M or 1.2G")
    return round(_times(str(text), number, _factor(str(text), unit.upper(), _COUNT, "K, M or G")))


def parse_size(text: str | int) -> int:
    """`12MB` (10^6 bytes), `11.5MiB` (2^20 bytes) or `900KB`, in bytes."""
    if isinstance(text, int):
        return text
    number, unit = _split(text, "a size such as 12MB or 11.5MiB")
    if not unit:
        raise typer.BadParameter(f"'{text}' has no unit: write {text.strip()}MB or {text.strip()}MiB.")
    factor = _factor(text, unit.upper(), _BYTES, "B, KB, MB, GB, KiB, MiB or GiB")
    return round(_times(text, number, factor))


def parse_duration(text: str | float) -> float:
    """`20s`, `2min`, `1.5h` or a bare number of seconds, in seconds."""
    number, unit = _split(str(text), "a time such as 20s, 2min or a number of seconds")
    return _times(str(text), number, _factor(str(text), unit, _SECONDS, "s, min or h"))


def parse_profile_time(text: str | float) -> float:
    """The same for a profile, which needs a few seconds."""
    seconds = parse_duration(text)
    if seconds < LEAST_PROFILE_S:
        raise typer.BadParameter(
            f"'{text}' is too short for a certified table: ask for {LEAST_PROFILE_S:g}s or more."
        )
    return seconds


def _split(text: str, expected: str) -> tuple[float, str]:
    match = re.fullmatch(r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-zµμ%]*)", text.strip(), re.IGNORECASE)
    if match is None:
        raise typer.BadParameter(f"'{text}' is not {expected}.")
    return _times(text, float(match[1]), 1.0), match[2]


def _times(text: str, number: float, factor: float) -> float:
    """The product, which may have left what a float can hold."""
    product = number * factor
    if not math.isfinite(product) or product <= 0:
        raise typer.BadParameter(f"'{text}' must be above zero and finite.")
    return product


def _factor(text: str, unit: str, factors: Mapping[str, float], known: str) -> float:
    if unit not in factors:
        raise typer.BadParameter(f"'{text}' has an unknown unit '{unit}': write {known}.")
    return factors[unit]
