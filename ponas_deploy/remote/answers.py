"""What a board answers about a job, and the errors that it may end with."""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import dataclass

from ponas_deploy.boards.link import BoardError
from ponas_deploy.files.bounds import Count


class BoardBusyError(BoardError):
    """Somebody measures there already. Attributes: `job`, `title`, `by`, `held_s`."""

    def __init__(self, board: str, holder: Holder) -> None:
        self.job, self.title, self.by, self.held_s = holder.job, holder.title, holder.by, holder.held_s
        super().__init__(
            board,
            f"{holder.by or 'somebody'} has been measuring there for {holder.held_s:.0f} s ({holder.title},"
            f" job {holder.job}): wait for it or stop it, two at once spoil both.",
        )


class WorkerEnded(BoardError):  # noqa: N818 (it did not necessarily go wrong)
    """A worker that is gone before its step was done. Attributes: `now` (what it was doing), `what`."""

    def __init__(self, board: str, what: str, now: str) -> None:
        self.what, self.now = what, now
        super().__init__(board, f"its worker {what} while {now}.")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a worker there, with which job, for how many seconds."""

    job: str
    title: str
    by: str
    held_s: float


@dataclass(frozen=True, slots=True)
class Started:
    """Whether the board lacks the archive, and who is measuring there already."""

    lacks: bool = False
    busy: Holder | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a worker ended: its exit code, whether for lack of memory, what it said last, or with the board."""

    code: int | None
    memory: bool
    said: str
    rebooted: bool

    @property
    def what(self) -> str:
        """What happened to it, in words."""
        if self.rebooted:
            return "was ended by a restart of the board"
        if self.memory:
            return "was killed by signal 9, because the board ran out of memory"
        said = f" ({self.said})" if self.said else ""
        if self.code is None:
            return f"ended, and what kept it did too{said}"
        if self.code >= 0:
            return f"ended with code {self.code}{said}"
        with suppress(ValueError):
            return f"was killed by signal {-self.code}, {signal.Signals(-self.code).name}{said}"
        return f"was killed by signal {-self.code}{said}"


@dataclass(frozen=True, slots=True)
class Followed:
    """Where the journal goes on; files of the step that the board `lacks`, and a file's `size` in bytes."""

    next: int
    ended: Ended | None
    lacks: tuple[str, ...] = ()
    size: Count = 0


@dataclass(frozen=True, slots=True)
class Lacks:
    """The hashes of files that the board has not."""

    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a file of `size` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class StepError:
    """What a step raised."""

    kind: str
    text: str
    backend: str = ""
