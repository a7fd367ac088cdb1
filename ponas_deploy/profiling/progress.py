"""How far a profile is, in values that go from the process that measures to whoever draws a bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ponas_deploy.files.notes import OnNote


@dataclass(frozen=True, slots=True)
class ProfilingProgress:
    """How far a profile is: `done` of `total` in a stage ("build", "measure", "fit").

    `seconds_left` is to the end of the profile, not of the stage. `note` is a sentence that is said once,
    empty where there is none. `device` is whose profile it is, where several are made in one go.
    """

    stage: str
    done: int
    total: int
    seconds_left: float
    text: str
    note: str = ""
    device: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether nothing more comes of it, and its bar can go."""
        return self.stage == FINISHED.stage and self.done == self.total

    @property
    def left(self) -> str:
        """The time that is left, in words; empty where nobody knows, or it is over."""
        return f"{self.seconds_left:.0f} s left" if self.seconds_left >= 1 else ""


FINISHED = ProfilingProgress("fit", 1, 1, 0.0, "done")


OnProgress = Callable[[ProfilingProgress], None]


def with_notes(on_note: OnNote, on_progress: OnProgress | None) -> OnProgress:
    """Pass on how far a profile is, and what it says once."""

    def report(progress: ProfilingProgress) -> None:
        if progress.note:
            on_note(progress.note)
        if on_progress:
            on_progress(progress)

    return report


def of_device(name: str, on_progress: OnProgress | None) -> OnProgress | None:
    """Pass on how far a profile is as that of a device."""
    if on_progress is None:
        return None
    report = on_progress
    return lambda progress: report(replace(progress, device=name))


OnStep = Callable[[str], None]
"""Is called with what is about to be built or run, before it is."""
BUILDING = "building "
"""How the step begins before a model is built."""
