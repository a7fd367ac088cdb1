"""Several inferences at once: sessions of one model, each run by a thread of its own.

A runtime with streams of its own shares what it compiled among them (`SharesModel`: OpenVINO's NUM_STREAMS);
of another one the model is opened once a stream, each with its own threads and weights (ONNX Runtime).
A session of a board is one of all streams (`RunsOnStreams`): this module opens them there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Callable, Sequence

import numpy as np

from ponas_deploy.backends.protocol import Backend, RunSettings, RunsOnStreams, Session, SharesModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


def loaded(backend: Backend, model: bytes, settings: RunSettings) -> Session:
    """A session of an ONNX model, on as many streams as the settings say; raises as `Backend.load`."""
    return _on_streams(lambda: backend.load(model, settings), settings)


def opened(backend: Backend, engine: Path, settings: RunSettings) -> Session:
    """A session of an engine, on as many streams as the settings say; raises as `Backend.open`."""
    return _on_streams(lambda: backend.open(engine, settings), settings)


def _on_streams(one: Callable[[], Session], settings: RunSettings) -> Session:
    if settings.streams == 1:
        return one()
    with ExitStack() as stack:
        first = stack.enter_context(one())
        if isinstance(first, RunsOnStreams):
            stack.pop_all()
            return first
        sessions = [first]
        for _ in range(settings.streams - 1):
            further = first.another() if isinstance(first, SharesModel) else one()
            sessions.append(stack.enter_context(further))
        stack.pop_all()
    return StreamsSession(sessions)


class StreamsSession:
    """Sessions that run at once; see `backends.Session`. It closes them."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._sessions = sessions
        self._pool = ThreadPoolExecutor(len(sessions))

    def settings(self) -> RunSettings:
        """What the runtime says, and how many run at once."""
        return replace(self._sessions[0].settings(), streams=len(self._sessions))

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for images of the model's input shape, by one of them."""
        return self._sessions[0].run(images)

    def time_ns(self, runs: int) -> int:
        """Nanoseconds from the start of the first until the last stream had done `runs` runs."""
        together = Barrier(len(self._sessions))

        def timed(session: Session) -> tuple[int, int]:
            together.wait()
            begin_ns = perf_counter_ns()
            return begin_ns, session.time_ns(runs)

        taken = list(self._pool.map(timed, self._sessions))
        first_ns = min(begin_ns for begin_ns, _ in taken)
        return max(begin_ns - first_ns + own_ns for begin_ns, own_ns in taken)

    def close(self) -> None:
        """Close all of them."""
        self._pool.shutdown()
        for session in self._sessions:
            session.close()

    def __enter__(self) -> StreamsSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
