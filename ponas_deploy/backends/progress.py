"""How far a runtime is with one model, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class BuildProgress:
    """How far a runtime is with one model: `done` of the `steps` of a phase.

    `next_pct` is how much of the next step is done, where the runtime says what it consists of.
    """

    phase: str
    done: int
    steps: int
    next_pct: int = 0

    @property
    def text(self) -> str:
        """`Building engine: 3 of 12`, or `Building engine: 3 of 12, 40 % of the next`."""
        inside = f", {self.next_pct} % of the next" if self.next_pct else ""
        return f"{self.phase}: {self.done} of {self.steps}{inside}"


OnBuildProgress = Callable[[BuildProgress], None]
