"""Build an engine in a process of its own: a runtime that crashes while it builds takes that process with it.

The process reports how far the build is, where its runtime does, and at last the name of the file that opens
the engine; a failure of it ends in one sentence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import Backend, Calibrated, RunSettings, get_backend
from ponas_deploy.backends.progress import BuildProgress, OnBuildProgress
from ponas_deploy.errors import BackendError
from ponas_deploy.files.scratch import Scratch
from ponas_deploy.machines import processes
from ponas_deploy.tables.latency import Conditions

MODULE = "ponas_deploy.engines.building"
Images = NDArray[np.float32]


def backend_for(
    conditions: Conditions, images: Images | None, on_build: OnBuildProgress | None = None
) -> Backend:
    """The backend of these conditions, its INT8 scales from `images` where there are any.

    BackendError where it cannot take them.
    """
    backend = get_backend(conditions.backend, on_build)
    if images is None:
        return backend
    if not isinstance(backend, Calibrated):
        raise BackendError(backend.name, "takes no images for INT8 scales: take another backend.")
    backend.calibrate(images)
    return backend


def run_settings(conditions: Conditions) -> RunSettings:
    """What a session for these conditions is compiled with."""
    return RunSettings(conditions.precision, conditions.threads)


def build_here(
    model: Path, conditions: Conditions, images: Images | None, on_build: OnBuildProgress | None
) -> Path:
    """Build the engine of an ONNX file beside it, in this process; returns the file that opens it."""
    backend = backend_for(conditions, images, on_build)
    return backend.save(model.read_bytes(), run_settings(conditions), model.parent)[0]


def build_apart(
    model: Path, conditions: Conditions, images: Images | None, on_build: OnBuildProgress | None
) -> Path:
    """`build_here` in a process of its own.

    BackendError where the runtime is missing, refuses the network or brings its process down, PonasError
    where a file cannot be written.
    """
    backend = conditions.backend
    with ExitStack() as stack:
        try:
            empty = Path(stack.enter_context(Scratch()))
            images_file = _saved(images, empty / "images.npy")
            given = (str(model.resolve()), json.dumps(asdict(conditions)), images_file)
            process = stack.enter_context(processes.started(MODULE, *given, folder=empty))
        except OSError as error:
            raise BackendError(
                backend, f"the process that builds the engine cannot start: {error}."
            ) from error
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


def build_model(
    model: bytes, conditions: Conditions, folder: Path, on_build: OnBuildProgress | None = None
) -> Path:
    """The engine of an ONNX model in an empty folder, by `build_apart`; the file that opens it."""
    file = folder / "model.onnx"
    file.write_bytes(model)
    return build_apart(file, conditions, None, on_build)


def _saved(images: Images | None, to: Path) -> str:
    """The file that images lie in; empty where there are none."""
    if images is None:
        return ""
    np.save(to, images)
    return str(to)


def _failed(backend: str, what: str) -> BackendError:
    return BackendError(backend, f"the process that builds the engine {what}: {processes.advice(what)}.")


def main(arguments: Sequence[str]) -> None:
    """The process: the ONNX file, conditions as JSON, and a file of images or nothing."""
    model, conditions, images_file = arguments

    def build(send: processes.Send) -> str:
        images = np.load(images_file, allow_pickle=False) if images_file else None
        asked = Conditions(**json.loads(conditions))
        return build_here(
            Path(model), asked, images, lambda progress: send({"progress": asdict(progress)})
        ).name

    processes.serve(build)
