"""In which scale networks' values add up, and back.

Latencies add in milliseconds, with errors relative to the value. Accuracies add as the logarithm of the
error, log(100 - top-1), which predicted best on every complete benchmark (`docs`: facts on accuracy), or
as plain points where that predicts clearly better on held-out rows. Networks of one supernet share an error
that no candidate takes away; where it predicts clearly better, what adds up is the logarithm of the error
above such a floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from ponas_deploy.fitting.design import Floats

ScaleName: TypeAlias = Literal["latency", "log-error", "points"]


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale; `floor_pct` is the error in percent that no network goes below (log-error only)."""

    name: ScaleName
    floor_pct: float = 0.0

    @property
    def text(self) -> str:
        """The scale for people."""
        return f"{self.name} above {self.floor_pct:g} %" if self.floor_pct else self.name


LATENCY, LOG_ERROR, POINTS = Scale("latency"), Scale("log-error"), Scale("points")


def to_scale(values: Floats, scale: Scale) -> Floats:
    """Values (N,) in ms or percent, in the scale that adds up; larger is worse in every scale."""
    if scale == LATENCY:
        return values
    error = 100.0 - scale.floor_pct - values
    return np.log(np.maximum(error, least_error(error))) if scale.name == "log-error" else error


def from_scale(target: Floats, scale: Scale) -> Floats:
    """Back to ms or percent; percent stay within 0 and 100."""
    if scale == LATENCY:
        return target
    error = np.exp(np.minimum(target, 5.0)) if scale.name == "log-error" else target
    return np.clip(100.0 - scale.floor_pct - error, 0.0, 100.0)


def least_error(error: Floats) -> float:
    """Half the smallest error above zero: a perfect network has no logarithm."""
    positive = error[error > 0]
    return float(positive.min()) / 2 if len(positive) else 0.005


def clock_step(values: Floats) -> float:
    """What the values are multiples of: 0.1 for a clock that reads tenths; 0 where it is too fine to see."""
    apart = np.diff(np.unique(values))
    if not len(apart):
        return 0.0
    for decimals in range(7):
        if np.allclose(values, np.round(values, decimals), rtol=0, atol=10.0 ** (-decimals - 4)):
            return float(10.0**-decimals)
    return 0.0
