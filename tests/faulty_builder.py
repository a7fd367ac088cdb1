"""The process that builds an engine, with something that really happens in it (variable FAULT).

`ponas_deploy.measuring.build_process.MODULE` names this module in tests.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.onnxruntime import OnnxRuntimeBackend
from ponas_deploy.backends.progress import BuildProgress, OnBuildProgress
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.measuring import build_process


def main(arguments: Sequence[str]) -> None:
    def get_backend(name: str, on_build: OnBuildProgress | None = None) -> OnnxRuntimeBackend:
        return FaultyBackend(on_build or (lambda build: None))

    build_process.get_backend = get_backend  # type: ignore[assignment]
    build_process.main(arguments)


class FaultyBackend(OnnxRuntimeBackend):
    """ONNX Runtime, but for the fault."""

    def __init__(self, on_build: OnBuildProgress) -> None:
        super().__init__()
        self._on_build = on_build

    def calibrate(self, images: NDArray[np.float32]) -> None:
        raise BackendError("onnxruntime", f"{images.shape} {images.dtype} came, {images.sum()} in sum.")

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        self._on_build(BuildProgress("Building", 1, 2))
        FAULTS[os.environ["FAULT"]]()
        return super().save(model, settings, folder)


def _refused() -> None:
    raise BackendError("onnxruntime", "cannot build this.")


def _full() -> None:
    raise PonasError("the disk is full.")


def _hangs() -> None:
    with subprocess.Popen(["sleep", "60"]) as compiler:
        Path(os.environ["PIDS"]).write_text(f"{os.getpid()} {compiler.pid}")


FAULTS: dict[str, Callable[[], object]] = {
    "none": lambda: os.write(1, b"what a runtime prints"),
    "crash": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "memory": lambda: np.empty(1 << 50, np.float32),
    "refused": _refused,
    "full": _full,
    "bug": lambda: 1 // 0,
    "hang": _hangs,
}
