"""Profiling on a board: its worker is started again when it fails, and the journal here goes on."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

from ponas_deploy.boards.link import BoardError
from ponas_deploy.profiling.progress import OnProgress, ProfilingProgress
from ponas_deploy.profiling.supervise import WorkerFailure, refuse_more
from ponas_deploy.profiling.worker import Request, make
from ponas_deploy.remote.answers import WorkerEnded
from ponas_deploy.remote.place import BoardPlace


def profile_on_board(request: Request, place: BoardPlace, on_progress: OnProgress | None = None) -> None:
    """Profile a board until the table is written; what was measured is in the journal as soon as it comes.

    Raises BackendError when the runtime is missing, refuses a block or brings the worker down time and again,
    BoardError where the board is out of reach for too long, PonasError when nothing trustworthy came out.
    """
    deadline, failures = monotonic() + request.seconds, list[WorkerFailure]()
    report = on_progress or (lambda progress: None)
    while True:
        left_s = max(0.0, deadline - monotonic())
        attempt = replace(
            request,
            seconds=left_s,
            asked_s=request.seconds,
            failures=tuple(failure.text for failure in failures),
        )
        try:
            with place.renewed_after_errors():
                make(attempt, lambda step: None, report, place)
            return
        except WorkerEnded as error:
            failures.append(WorkerFailure(error.now, error.what))
            refuse_more(failures, request)
            report(ProfilingProgress("build", 0, 1, left_s, f"starting again: its worker {error.what}"))
        except BoardError as error:
            raise BoardError(
                error.board,
                f"{error.reason} What was measured is kept in {request.journal}, and the same command goes"
                " on from there.",
            ) from error
