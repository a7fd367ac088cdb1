"""From summed losses to top-1: the level of a table that was fitted to measured networks.

The search compares summed losses; a monotone curve over them keeps that order, so the network of least loss
is that of greatest top-1. Sums of the best cells lie beyond whatever was measured, and tend to promise too
much there: the range of the measured networks belongs beside such a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.files.bounds import AboveZero, Percent, Positive

_LARGEST = 50.0
"""exp of more is far above any error in percent."""


@dataclass(frozen=True, slots=True)
class MeasuredTop1:
    """The top-1 in percent of the measured networks that a table was fitted to: how many, and their range."""

    networks: Positive
    least_pct: Percent
    greatest_pct: Percent

    def beyond(self, top1_pct: float) -> str:
        """Where a prediction in percent lies beyond the range, for people; empty within it."""
        measured = f"of the {self.networks:,} measured networks"
        if top1_pct > self.greatest_pct:
            promise = "sums of best cells tend to promise too much"
            return f"beyond the best {measured}, {self.greatest_pct:.2f} %: {promise}"
        if top1_pct < self.least_pct:
            return f"below the worst {measured}, {self.least_pct:.2f} %"
        return ""


@dataclass(frozen=True, slots=True)
class PredictedTop1:
    """A predicted top-1 in percent, what it is of, and where it lies beyond what was measured; else empty."""

    pct: float
    of: str
    beyond: str = ""

    @property
    def text(self) -> str:
        """One line for people."""
        return f"{self.pct:.2f} %, {self.of}{self.beyond and f'; {self.beyond}'}"


@dataclass(frozen=True, slots=True)
class Top1Scale:
    """The top-1 in percent at a summed loss in percentage points.

    100 - floor - (100 - floor - top1_at_no_loss) exp(loss / points_a_unit) where the log of the error above
    a floor adds up ("log-error"), top1_at_no_loss - loss where points do. `measured` is None where nobody
    wrote down what the networks of the fit reached.
    """

    curve: Literal["log-error", "points"]
    top1_at_no_loss_pct: float
    points_a_unit: AboveZero = 1.0
    error_floor_pct: Percent = 0.0
    measured: MeasuredTop1 | None = None

    def __post_init__(self) -> None:
        if self.curve == "log-error" and self.top1_at_no_loss_pct >= 100.0 - self.error_floor_pct:
            raise ValueError("top1_at_no_loss_pct: must be below 100 less error_floor_pct.")

    def top1_pct(self, loss_pp: NDArray[np.float64]) -> NDArray[np.float64]:
        """Percent at losses of any shape, from 0 to 100, never greater at a greater loss."""
        if self.curve == "points":
            return np.clip(self.top1_at_no_loss_pct - loss_pp, 0.0, 100.0)
        most = 100.0 - self.error_floor_pct
        error = (most - self.top1_at_no_loss_pct) * np.exp(np.minimum(loss_pp / self.points_a_unit, _LARGEST))
        return np.clip(most - error, 0.0, 100.0)
