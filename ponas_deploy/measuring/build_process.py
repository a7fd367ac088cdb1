"""Build an engine in a process of its own: a runtime that crashes while it builds takes that process with it.

The process reports how far the build is, where its runtime does, and at last the name of the file that opens
the engine; a failure of it ends in one sentence. Runs on a board as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ponas_deploy.backends import Backend, Calibrated, RunSettings, get_backend, registry
from ponas_deploy.backends.progress import BuildProgress, OnBuildProgress
from ponas_deploy.errors import BackendError
from ponas_deploy.machines import processes

MODULE = "ponas_deploy.measuring.build_process"


def calibrated(backend: Backend, images: np.ndarray | None) -> Backend:
    """The backend, its INT8 scales from `images` where there are any; BackendError where it takes none."""
    if images is None:
        return backend
    if not isinstance(backend, Calibrated):
        raise takes_no_images(backend.name)
    backend.calibrate(images)
    return backend


def takes_no_images(backend: str) -> BackendError:
    """What is raised where a runtime has no use for images."""
    return BackendError(backend, "takes no images for INT8 scales: take another backend.")


def build_in_process(
    model: Path,
    backend: str,
    settings: RunSettings,
    images: Path | None,
    empty: Path,
    on_build: OnBuildProgress | None,
    compute_capability: str = "",
) -> Path:
    """Build the engine of an ONNX file beside it; returns the file that opens it.

    `images` are those of INT8 scales, a file of NumPy's; `empty` is the folder of the process. With a
    `compute_capability` it is for GPUs of that, which need not be here (`ahead_of_time`). BackendError where
    the runtime is missing, refuses the network or brings its process down, PonasError where a file cannot be
    written, OSError where no process can be started.
    """
    settings_given = settings.precision, str(settings.threads)
    given = (str(model.resolve()), backend, *settings_given, str(images or ""), compute_capability)
    with processes.started(MODULE, *given, folder=empty) as process:
        for line in process.stdout or ():
            message = json.loads(line)
            if "done" in message:
                return model.with_name(message["done"])
            if what := processes.failure_of(message):
                raise _failed(backend, what)
            processes.raise_reported(message, backend)
            if on_build:
                on_build(BuildProgress(**message["progress"]))
            processes.acknowledge(process)
        raise _failed(backend, processes.exit_reason(process, empty))


def _failed(backend: str, what: str) -> BackendError:
    return BackendError(backend, f"the process that builds the engine {what}: {processes.advice(what)}.")


def main(arguments: Sequence[str]) -> None:
    """The process: the ONNX file, backend, precision, threads, a file of images and a compute capability.

    Either of the last two may be empty.
    """
    model, name, precision, threads, images_file, capability = arguments

    def build(send: processes.Send) -> str:
        images = np.load(images_file, allow_pickle=False) if images_file else None

        def on_build(progress: BuildProgress) -> None:
            send({"progress": asdict(progress)})

        settings, file = RunSettings(precision, int(threads)), Path(model)
        if capability:
            ahead = registry.ahead_of_time(name, capability, on_build)
            if images is not None:
                ahead.calibrate(images)
            return ahead.save(file.read_bytes(), settings, file.parent)[0].name
        backend = calibrated(get_backend(name, on_build), images)
        return backend.save(file.read_bytes(), settings, file.parent)[0].name

    processes.serve(build)
