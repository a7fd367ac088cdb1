"""The machine that builds, runs and measures: this one, or a board (`remote.place`)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import Backend, OnBuildProgress, RunSettings, get_backend
from ponas_deploy.errors import BackendError, MeasurementError
from ponas_deploy.files.lock import machine_to_oneself
from ponas_deploy.files.scratch import Scratch
from ponas_deploy.machines.conditions import read_conditions
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.build_process import build_in_process
from ponas_deploy.measuring.engine_process import Taken, Timed, take_in_fresh_process
from ponas_deploy.measuring.interference import Snapshot
from ponas_deploy.measuring.interleaved_process import (
    OnRounds,
    TakenTogether,
    TimedTogether,
    take_together,
)
from ponas_deploy.measuring.machine_readings import MachineReadings, read_machine


class Place(Protocol):
    """A machine with runtimes. Files are of this machine: a board gets and gives them over its link."""

    def backend(self, name: str, on_build: OnBuildProgress | None = None) -> Backend:
        """A runtime there; UnknownNameError, or BackendError where it is missing."""
        ...

    def environment(self) -> tuple[tuple[str, str], ...]:
        """What the machine is, as (name, value)."""
        ...

    def conditions(self) -> tuple[tuple[str, str], ...]:
        """What it works under now (load, governor, clock, heat), as (name, value)."""
        ...

    def readings(self) -> MachineReadings:
        """All that can be read of it in a second, during which nothing of ours works there."""
        ...

    def build(
        self,
        model: Path,
        backend: str,
        settings: RunSettings,
        images: NDArray[np.float32] | None,
        on_build: OnBuildProgress | None,
    ) -> Path:
        """Build the engine of an ONNX file, in a process of its own there; the engine's files lie beside it.

        Returns the one that opens it. BackendError where the runtime refuses the network or brings its
        process down.
        """
        ...

    def take(self, timed: Timed) -> tuple[Taken, tuple[Snapshot, Snapshot] | None]:
        """Time an engine in a fresh process; the machine before and after, where that is another one.

        BackendError where the process fails, MeasurementError where it takes too long.
        """
        ...

    def take_together(self, timed: TimedTogether, on_rounds: OnRounds) -> TakenTogether:
        """Time engines in the same rounds, in a fresh process.

        BackendError where one cannot be opened or brings the process down, MeasurementError where that cannot
        start.
        """
        ...

    def to_oneself(self, lock: Path, what: str, wait_s: float = 0.0) -> AbstractContextManager[None]:
        """Nobody else measures there meanwhile; MeasurementError says who does. `lock` is of this machine."""
        ...


def build_here(
    model: Path,
    backend: str,
    settings: RunSettings,
    images: NDArray[np.float32] | None,
    on_build: OnBuildProgress | None,
    compute_capability: str = "",
) -> Path:
    """`Place.build` on this machine, for it or for GPUs of a compute capability; see `build_in_process`."""
    try:
        with Scratch() as name:
            file = None
            if images is not None:
                file = Path(name) / "images.npy"
                np.save(file, images)
            return build_in_process(model, backend, settings, file, Path(name), on_build, compute_capability)
    except OSError as error:
        raise BackendError(backend, f"the process that builds the engine cannot start: {error}.") from error


class Here:
    """This machine; see `Place`."""

    def backend(self, name: str, on_build: OnBuildProgress | None = None) -> Backend:
        """A runtime of this machine."""
        return get_backend(name, on_build)

    def environment(self) -> tuple[tuple[str, str], ...]:
        """What this machine is."""
        return this_machine().environment()

    def conditions(self) -> tuple[tuple[str, str], ...]:
        """What it works under now."""
        return read_conditions().conditions()

    def readings(self) -> MachineReadings:
        """All that can be read of this machine in a second."""
        return read_machine()

    def build(
        self,
        model: Path,
        backend: str,
        settings: RunSettings,
        images: NDArray[np.float32] | None,
        on_build: OnBuildProgress | None,
    ) -> Path:
        """Build an engine in a process of its own."""
        return build_here(model, backend, settings, images, on_build)

    def take(self, timed: Timed) -> tuple[Taken, tuple[Snapshot, Snapshot] | None]:
        """Time an engine in a fresh process."""
        try:
            with Scratch() as empty:
                return take_in_fresh_process(timed, Path(empty)), None
        except OSError as error:
            raise MeasurementError(f"the process that times {timed.engine} cannot start: {error}.") from error

    def take_together(self, timed: TimedTogether, on_rounds: OnRounds) -> TakenTogether:
        """Time engines in the same rounds, in a fresh process."""
        try:
            with Scratch() as empty:
                return take_together(timed, Path(empty), on_rounds)
        except OSError as error:
            raise MeasurementError(f"the process that times engines cannot start: {error}.") from error

    def to_oneself(self, lock: Path, what: str, wait_s: float = 0.0) -> AbstractContextManager[None]:
        """Nobody else measures on this machine meanwhile."""
        return machine_to_oneself(lock, what, wait_s)


HERE: Place = Here()
