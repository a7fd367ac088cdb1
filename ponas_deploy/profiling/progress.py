"""How far a profile is, in values that go from the process that measures to whoever draws a table of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ponas_deploy.files.notes import OnNote
from ponas_deploy.tables.latency import Conditions

WAITING, TRYING = "waiting", "trying"
"""The stages before a profile: its turn has not come, or a trial says whether it is worth its time."""
DONE, LEFT_OUT, FAILED = "done", "left out", "failed"
"""The stages after it: nothing more comes."""


@dataclass(frozen=True, slots=True)
class ProfilingProgress:
    """How far a profile is: `done` of `total` in a stage ("build", "measure", "fit", or those above).

    `seconds_left` is to the end of the profile, not of the stage, `took_s` what it took when it is done.
    `note` is a sentence that is said once, empty where there is none. `device` is whose profile it is, where
    several are made in one go; `runtime` (with the precision) and `resolution` in pixels say which of its
    profiles, empty and 0 where nobody needs to know.
    """

    stage: str
    done: int
    total: int
    seconds_left: float
    text: str
    note: str = ""
    device: str = ""
    runtime: str = ""
    resolution: int = 0
    took_s: float = 0.0

    @property
    def is_finished(self) -> bool:
        """Whether nothing more comes of it."""
        return self.stage in (DONE, LEFT_OUT, FAILED)

    @property
    def is_under_way(self) -> bool:
        """Whether it is built, measured or fitted now."""
        return not self.is_finished and self.stage not in (WAITING, TRYING)

    @property
    def left(self) -> str:
        """The time that is left, in words; empty where nobody knows, or it is over."""
        return f"{self.seconds_left:.0f} s left" if self.seconds_left >= 1 else ""


OnProgress = Callable[[ProfilingProgress], None]


def at_stage(stage: str, text: str = "", *, took_s: float = 0.0) -> ProfilingProgress:
    """A profile before its first model is built, or when it is over; `text` is what came of it, or why."""
    return ProfilingProgress(stage, int(stage == DONE), 1, 0.0, text, took_s=took_s)


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


def of_runtime(conditions: Conditions, resolution: int, on_progress: OnProgress | None) -> OnProgress:
    """Pass on how far a profile is as that of a runtime and precision, at a resolution in pixels."""
    if on_progress is None:
        return lambda progress: None
    report, runtime = on_progress, f"{conditions.backend} {conditions.precision}"
    return lambda progress: report(replace(progress, runtime=runtime, resolution=resolution))


def unfinished(on_progress: OnProgress) -> OnProgress:
    """Pass on how far a profile is, not that it is over: it is a part of what is reported."""
    return lambda progress: None if progress.is_finished else on_progress(progress)


OnStep = Callable[[str], None]
"""Is called with what is about to be built or run, before it is."""
BUILDING = "building "
"""How the step begins before a model is built."""
