"""What precisions cost and gain, as values: accuracy that was measured, latency by the tables."""

from __future__ import annotations

from dataclasses import dataclass

from ponas_deploy.files.bounds import Count


@dataclass(frozen=True, slots=True)
class PrecisionLoss:
    """What a precision of a runtime loses: the largest drop in top-1 of some networks, at least 0.

    `drops_points` are the drops against full precision of each network, in percentage points, through engines
    on `images` validation images of `data`.
    """

    backend: str
    precision: str
    drops_points: tuple[float, ...]
    images: Count
    data: str

    @property
    def points(self) -> float:
        """What is added to the loss of every network in this precision, in percentage points."""
        return max(0.0, *self.drops_points)

    @property
    def text(self) -> str:
        """One line for people."""
        networks = f"{len(self.drops_points)} network{'s' * (len(self.drops_points) > 1)}"
        return (
            f"{self.precision} in {self.backend}: {self.points:.1f} points lost, measured on {networks},"
            f" {self.images} {self.data}"
        )


@dataclass(frozen=True, slots=True)
class PrecisionGain:
    """What a network takes in a precision by a runtime's tables, and in the fastest other one, in ms."""

    backend: str
    precision: str
    predicted_ms: float
    other: str
    other_ms: float

    @property
    def text(self) -> str:
        """One sentence for people."""
        figures = (
            f"by the tables of {self.backend} the network takes {self.predicted_ms:.3g} ms in"
            f" {self.precision} and {self.other_ms:.3g} ms in {self.other}"
        )
        gains = self.predicted_ms < self.other_ms
        return f"{figures}{'' if gains else f': {self.precision} buys nothing here'}."
