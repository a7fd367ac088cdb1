"""What a runtime must have: a backend compiles an ONNX model, a session runs and times it.

`Backend` and `Session` are what every runtime has. The protocols below them are optional: who needs one
asks with isinstance. Every module of a runtime imports without the runtime, which is imported when the
backend is made. Which runtimes there are stands in `registry.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.machines.nvidia import GpuReading

if TYPE_CHECKING:
    from numpy.typing import NDArray

INT8 = "int8"
"""The precision whose scales come from images (`Calibrated`)."""
MIXED = "mixed"
"""Those layers in INT8 that the model names (`searchspace.mixed`), the others in fp32."""
QUANTISED = (INT8, MIXED)


@dataclass(frozen=True)
class RunSettings:
    """What a session is compiled for; always explicit, always recorded.

    `threads` are those of each of the `streams` that run at once (`backends.streams`).
    """

    precision: str = "fp32"
    threads: int = 1
    streams: int = 1

    @property
    def all_threads(self) -> int:
        """The threads that run at once: those of all streams."""
        return self.threads * self.streams


class Session(Protocol):
    """A compiled model, with its input and output preallocated and bound once. A context manager."""

    def settings(self) -> RunSettings:
        """What the runtime says it was compiled with, asked of the runtime where it answers."""
        ...

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for inputs of the model's shape."""
        ...

    def time_ns(self, runs: int) -> int:
        """Nanoseconds that `runs` back-to-back runs on the bound input took together."""
        ...

    def close(self) -> None:
        """Free the session; it is not used again."""
        ...

    def __enter__(self) -> Session: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Backend(Protocol):
    """A runtime on this machine."""

    name: str

    def precisions(self) -> tuple[str, ...]:
        """The precisions this machine runs natively, the default first."""
        ...

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Versions and settings that a latency depends on, as (name, value)."""
        ...

    def load(self, model: bytes, settings: RunSettings) -> Session:
        """Compile an ONNX model.

        BackendError when the runtime refuses it, UnknownNameError (a PonasError that lists what
        exists) for a precision this machine does not have.
        """
        ...

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """Write the device-tuned engine of an ONNX model into `folder`; the first file opens it."""
        ...

    def open(self, engine: Path, settings: RunSettings) -> Session:
        """A session of an engine that `save` wrote."""
        ...


class BuildsAhead(Protocol):
    """A runtime that builds engines for a device that is not here: it runs and times nothing."""

    name: str
    on_progress: OnBuildProgress | None

    def precisions(self) -> tuple[str, ...]:
        """The precisions such devices run natively, the default first."""
        ...

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Versions and settings that an engine is built with, as (name, value)."""
        ...

    def calibrate(self, images: NDArray[np.float32]) -> None:
        """Take INT8 scales from these images, see `Calibrated`."""
        ...

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """Write the engine of an ONNX model into `folder`; the first file opens it."""
        ...


@runtime_checkable
class Calibrated(Protocol):
    """What a backend has besides where its INT8 scales come from images."""

    def calibrate(self, images: NDArray[np.float32]) -> None:
        """Take scales from these images, (count, 3, height, width) as the network wants them."""
        ...


@runtime_checkable
class SharesModel(Protocol):
    """What a session has besides where several of them share one compiled model."""

    def another(self) -> Session:
        """A session that runs at the same time, on a stream of its own."""
        ...


@runtime_checkable
class RunsOnStreams(Protocol):
    """What a session has besides where it is one of all streams that were asked for: those of a board."""

    @property
    def streams(self) -> int:
        """How many of its runs go on at once."""
        ...


@runtime_checkable
class TimesLayers(Protocol):
    """What a session has besides where the runtime times the layers of an engine."""

    def layer_times_ms(self) -> tuple[tuple[str, float], ...]:
        """Name and median milliseconds of each layer in order, from runs of their own."""
        ...


@runtime_checkable
class ReportsProgress(Protocol):
    """What a backend has besides where it reports how far a build is, from any thread."""

    on_progress: OnBuildProgress | None


@runtime_checkable
class PicksProcessor(Protocol):
    """What a backend has besides where it runs on a GPU if it sees one, else on the CPU."""

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU here."""
        ...

    @property
    def why_not_gpu(self) -> str:
        """Why it does not, as the part of a sentence; empty on a GPU."""
        ...


@runtime_checkable
class ReadsGpu(Protocol):
    """What a backend has besides where it runs on a GPU: which one that is, and its state."""

    def reading(self) -> GpuReading:
        """Clocks, power, temperature and throttle reasons of its GPU now."""
        ...


@runtime_checkable
class TellsGpuMemory(Protocol):
    """What a backend has besides where its sessions take a GPU's memory."""

    def free_gpu_bytes(self) -> int | None:
        """Bytes of that memory that are free now; None where nothing tells it."""
        ...


@runtime_checkable
class CapturesGraphs(Protocol):
    """What a backend has besides where models should run in a CUDA graph."""

    @property
    def uncaptured(self) -> tuple[str, ...]:
        """Why models loaded so far run without one, one reason for each."""
        ...


@runtime_checkable
class Launches(Protocol):
    """What a session has besides where the host launches what another processor runs."""

    launch_ns: int
    """Nanoseconds that the host needs to launch one run; 0 where that cannot be told apart from the run."""


@runtime_checkable
class RunsMany(Protocol):
    """What a session has besides where each call goes a long way, so that many images travel together."""

    def run_many(self, images: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
        """Outputs for images (N, ...), `batch` of them at once; N is a multiple of it."""
        ...


@runtime_checkable
class StartsProcesses(Protocol):
    """What a session has besides where every visit of a measurement starts a process."""

    visit_s: float
    """Seconds that the latest one took, however few runs were asked for."""

    def begin_visit(self) -> None:
        """What is asked for next comes from another process: a sample, or one that is taken again."""
        ...
