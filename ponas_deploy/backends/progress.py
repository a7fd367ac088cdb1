"""How far a runtime is with one model, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class BuildProgress:
    """How far a runtime is with one model: `done` of the `steps` of a phase."""

    phase: str
    done: int
    steps: int

    @property
    def text(self) -> str:
        """`Building engine: 3 of 12`."""
        return f"{self.phase}: {self.done} of {self.steps}"


OnBuildProgress = Callable[[BuildProgress], None]
