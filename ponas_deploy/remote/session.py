"""A compiled model on a board, which runs and is timed by the steps of a job."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.lib.format import read_array
from numpy.typing import NDArray

from ponas_deploy.backends import RunSettings
from ponas_deploy.boards.link import BoardError
from ponas_deploy.errors import PonasError
from ponas_deploy.files.bounds import AtLeastZero, Nanoseconds
from ponas_deploy.remote.images import Packing
from ponas_deploy.remote.job import Job

Value = TypeVar("Value")

_MOST_OUTPUTS_BYTES = 256 << 20
"""What images that travel together can have for outputs: 16 MiB of the smallest ones, of many classes."""


class OnBoard(Protocol):
    """A board with the job that is under way there (`place.BoardPlace`)."""

    @property
    def name(self) -> str:
        """What it is called in the device book."""
        ...

    @property
    def job(self) -> Job:
        """The job of now, which is another one after an error."""
        ...

    def value(self, found: Any, kind: type[Value], step: str) -> Value:
        """What a step returned, as a value of its type."""
        ...


@dataclass(slots=True)
class BoardSession:
    """A compiled model on a board; see `backends.Session`, `StartsProcesses` and `RunsOnStreams`."""

    place: OnBoard
    backend: str
    key: str
    compiled: RunSettings
    launch_ns: int = 0
    visit_s: float = 0.0
    packing: Packing = field(default_factory=Packing)
    visit_begins: bool = False

    def settings(self) -> RunSettings:
        """What the runtime says it was compiled with."""
        return self.compiled

    @property
    def streams(self) -> int:
        """How many of its runs go on at once there."""
        return self.compiled.streams

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for images of the model's input shape."""
        return self.run_many(images, len(images))

    def run_many(self, images: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
        """Outputs for images, `batch` of them at once."""
        content = self.place.job.do_with_file(
            "run", self.packing.packed(images), _MOST_OUTPUTS_BYTES, key=self.key, batch=batch
        )
        try:
            found = read_array(io.BytesIO(content), allow_pickle=False)
        except (ValueError, OSError, MemoryError) as error:
            raise BoardError(self.place.name, f"gives outputs that cannot be read: {error}.") from error
        if found.dtype != np.float32 or not found.ndim or len(found) != len(images):
            raise BoardError(self.place.name, "gives outputs of another form than images have.")
        return np.asarray(found, np.float32)

    def begin_visit(self) -> None:
        """What is asked for next is measured anew there."""
        self.visit_begins = True

    def time_ns(self, runs: int) -> int:
        """Nanoseconds that `runs` back-to-back runs took together."""
        begins, self.visit_begins = self.visit_begins, False
        found = self.place.job.do("time_runs", key=self.key, runs=runs, visit_begins=begins)
        return self.place.value(found, Nanoseconds, "time_runs")

    def layer_times_ms(self) -> tuple[tuple[str, float], ...]:
        """Name and median milliseconds of each layer in order."""
        found = self.place.job.do("layers", key=self.key, backend=self.backend)
        return self.place.value(found, tuple[tuple[str, AtLeastZero], ...], "layers")

    def close(self) -> None:
        """Free it there."""
        try:
            self.place.job.do("close", keys=[self.key])
        except PonasError:  # it is gone with its worker
            return

    def __enter__(self) -> BoardSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
