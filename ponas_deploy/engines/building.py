"""Build an engine in a process of its own: a runtime that crashes while it builds takes that process with it.

The process says how far the build is, where its runtime does, and at last the name of the file that opens the
engine; everything else that happens to it ends in one sentence.
"""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponas_deploy import fresh
from ponas_deploy.backends import Backend, Calibrated, RunSettings, get_backend
from ponas_deploy.errors import BackendError, MeasurementError, PonasError
from ponas_deploy.progress import BuildProgress, OnBuildProgress
from ponas_deploy.tables import Conditions

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


def build_here(
    model: Path, conditions: Conditions, images: Images | None, on_build: OnBuildProgress | None
) -> Path:
    """Build the engine of an ONNX file beside it, in this process; returns the file that opens it."""
    backend = backend_for(conditions, images, on_build)
    settings = RunSettings(conditions.precision, conditions.threads)
    return backend.save(model.read_bytes(), settings, model.parent)[0]


def build_apart(
    model: Path, conditions: Conditions, images: Images | None, on_build: OnBuildProgress | None
) -> Path:
    """`build_here` in a process of its own.

    BackendError where the runtime is missing, refuses the network or brings its process down.
    """
    with tempfile.TemporaryDirectory() as empty:
        shown, errors = Path(empty) / "images.npy", Path(empty) / "errors"
        if images is not None:
            np.save(shown, images)
        given = [str(model.resolve()), json.dumps(asdict(conditions)), "" if images is None else str(shown)]
        try:
            with errors.open("wb") as said:
                process = subprocess.Popen(
                    fresh.command(MODULE, *given),
                    stdout=subprocess.PIPE,
                    stderr=said,
                    text=True,
                    cwd=empty,
                )
        except OSError as error:
            raise MeasurementError(f"the process that builds {model} cannot start: {error}.") from error
        with process:
            try:
                name = _heard(process.stdout or (), conditions.backend, on_build or (lambda build: None))
            except BaseException:
                process.kill()
                raise
        if name:
            return model.with_name(name)
        fell = fresh.words(process.returncode, errors)
        raise BackendError(
            conditions.backend, f"the process that builds the engine {fell}: {fresh.advice(fell)}."
        )


def _heard(lines: Iterable[str], backend: str, on_build: OnBuildProgress) -> str:
    """Hear a process out: the file that it names, nothing when it ends before."""
    for line in lines:
        message = json.loads(line)
        if "refused" in message:
            raise BackendError(backend, message["refused"])
        if "error" in message:
            raise PonasError(message["error"])
        if "engine" in message:
            return str(message["engine"])
        on_build(BuildProgress(**message["progress"]))
    return ""


def main(arguments: Sequence[str]) -> None:
    """The process: the ONNX file, conditions as JSON, and a file of images or nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to both; the other process ends this one
    model, conditions, shown = arguments
    lines = fresh.lines_out()

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=lines, flush=True)

    tell: Callable[[BuildProgress], None] = lambda build: say({"progress": asdict(build)})  # noqa: E731
    try:
        images = np.load(shown, allow_pickle=False) if shown else None
        engine = build_here(Path(model), Conditions(**json.loads(conditions)), images, tell)
    except BackendError as error:
        say({"refused": error.reason})
    except PonasError as error:
        say({"error": str(error)})
    else:
        say({"engine": engine.name})
