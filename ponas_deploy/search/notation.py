"""How a quantity with a unit is written and read: `20ms`, `850us`, `60%`, `330M`, `12MB`.

A bare 20 could be anything, and a wrong guess finds a wrong network, so a unit is required where there is
more than one. Loads nothing heavy: the command line needs it when it starts.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from searchspace.errors import PonasError

FPS = "fps"
IMAGES_PER_S = "images/s"


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as it was asked for: an amount of `unit`, (`%`) of the most that helps, or (`fps`) a rate.

    The most that helps is what the cheapest network among those of least loss costs: a larger budget buys
    nothing.
    """

    amount: float
    unit: str = ""

    @property
    def relative(self) -> bool:
        """Whether it is a percentage of the most that helps."""
        return self.unit == "%"

    @property
    def is_throughput(self) -> bool:
        """Whether it is on throughput, which is measured of inferences one right after another."""
        return self.unit == IMAGES_PER_S

    def value(self, most: float, batch: int = 1, streams: int = 1) -> float:
        """The limit as a number, where more than `most` buys nothing.

        Frames per second are a latency in ms: that of `batch` images, so many times a second. Throughput is
        one too: that of `batch` images on each of `streams` at once.
        """
        if self.is_throughput:
            return 1e3 * batch * streams / self.amount
        if self.unit == FPS:
            return 1e3 * batch / self.amount
        return most * self.amount / 100 if self.relative else self.amount

    @property
    def text(self) -> str:
        """As a person would write it: `20 ms`, `60 % of the most that helps`, `330000000`."""
        if self.relative:
            return f"{self.amount:g} % of the most that helps"
        return f"{self.amount:g} {self.unit}" if self.unit else str(self.amount)


@dataclass(frozen=True, slots=True)
class Notation:
    """How quantities of one kind are written: a number, then one of `factors` (unit and factor to `unit`).

    `example` completes "'fast' is not ..." and `known` "write ..."; `bare` is the advice for a number with no
    unit, where that is refused. With `whole` amounts are rounded to whole numbers, `percent` allows `60%`,
    `cased` tells `ms` from `MS`.
    """

    example: str
    known: str
    factors: tuple[tuple[str, float], ...]
    unit: str = ""
    bare: str = ""
    whole: bool = False
    percent: bool = False
    cased: bool = False

    def parse(self, text: str) -> Limit:
        """Read a quantity; PonasError says what can be read."""
        match = re.fullmatch(r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-zµμ%]*)", text.strip(), re.IGNORECASE)
        if match is None:
            raise PonasError(f"'{text}' is not {self.example}.")
        number, unit = _times(text, float(match[1]), 1.0), match[2] if self.cased else match[2].upper()
        if unit == "%" and self.percent:
            return Limit(number, unit)
        if not unit and self.bare:
            raise PonasError(f"'{text}' has no unit: write {self.bare.format(text.strip())}.")
        factors = dict(self.factors)
        if unit not in factors:
            raise PonasError(f"'{text}' has an unknown unit '{unit}': write {self.known}.")
        amount = _times(text, number, factors[unit])
        return Limit(round(amount) if self.whole else amount, self.unit)


def _times(text: str, number: float, factor: float) -> float:
    """The product, which may have left what a float can hold."""
    product = number * factor
    if not math.isfinite(product) or product <= 0:
        raise PonasError(f"'{text}' must be above zero and finite.")
    return product


LATENCIES = Notation(
    "a latency such as 20ms, 850us, 1.2s or 60%",
    "ns, us, ms, s or %",
    (("ns", 1e-6), ("us", 1e-3), ("µs", 1e-3), ("μs", 1e-3), ("ms", 1.0), ("s", 1e3)),
    "ms",
    "{0}ms, {0}us or so",
    percent=True,
    cased=True,
)
RATES = Notation(
    "a number of frames per second such as 50 or 29.97",
    "a bare number, or fps behind it",
    (("", 1.0), ("FPS", 1.0)),
    FPS,
)
THROUGHPUTS = Notation(
    "a throughput such as 500 or 29.97",
    "a bare number: images a second",
    (("", 1.0), ("IMAGES/S", 1.0)),
    IMAGES_PER_S,
)
COUNTS = Notation(
    "a count such as 5.1M, 330M or 1.2G",
    "K, M or G",
    (("", 1.0), ("K", 1e3), ("M", 1e6), ("G", 1e9), ("B", 1e9)),
    whole=True,
)
SIZES = Notation(
    "a size such as 12MB or 11.5MiB",
    "B, KB, MB, GB, KiB, MiB or GiB",
    (
        *(("B", 1.0), ("KB", 1e3), ("MB", 1e6), ("GB", 1e9)),
        *(("KIB", 2.0**10), ("MIB", 2.0**20), ("GIB", 2.0**30)),
    ),
    bare="{0}MB or {0}MiB",
    whole=True,
)
ENERGIES = Notation(
    "an energy such as 50mJ or 1.2J",
    "uJ, mJ or J",
    (("uJ", 1e-3), ("µJ", 1e-3), ("μJ", 1e-3), ("mJ", 1.0), ("J", 1e3)),
    "mJ",
    "{0}mJ or so",
    cased=True,
)
DURATIONS = Notation(
    "a time such as 20s, 2min or a number of seconds",
    "ms, s, min or h",
    (("", 1.0), ("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0)),
    "s",
    cased=True,
)


def in_megabytes(count: float) -> str:
    """Bytes for people, three digits: `37.2 MB`."""
    value = count / 1e6
    return f"{value:.0f} MB" if value >= 100 else f"{value:.1f} MB" if value >= 10 else f"{value:.2f} MB"
