"""Build an engine from an ONNX file, in a process of its own on the machine that it is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import Backend, RunSettings
from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.measuring.build_process import calibrated
from ponas_deploy.measuring.place import HERE, Place, build_here
from ponas_deploy.tables.latency import Conditions

Images = NDArray[np.float32]


def backend_for(
    conditions: Conditions,
    images: Images | None,
    on_build: OnBuildProgress | None = None,
    place: Place = HERE,
) -> Backend:
    """The backend of these conditions, its INT8 scales from `images` where there are any.

    BackendError where it cannot take them.
    """
    return calibrated(place.backend(conditions.backend, on_build), images)


def run_settings(conditions: Conditions) -> RunSettings:
    """What a session for these conditions is compiled with."""
    return RunSettings(conditions.precision, conditions.threads, conditions.streams)


def build_apart(
    model: Path,
    conditions: Conditions,
    images: Images | None,
    on_build: OnBuildProgress | None,
    place: Place = HERE,
    compute_capability: str = "",
) -> Path:
    """Build the engine of an ONNX file beside it, in a process of its own; returns the file that opens it.

    With a `compute_capability` it is built on this machine for GPUs of that. BackendError where the runtime
    is missing, refuses the network or brings its process down, PonasError
    where a file cannot be written.
    """
    given = model, conditions.backend, run_settings(conditions), images, on_build
    return build_here(*given, compute_capability) if compute_capability else place.build(*given)


def build_model(
    model: bytes,
    conditions: Conditions,
    folder: Path,
    on_build: OnBuildProgress | None = None,
    place: Place = HERE,
) -> Path:
    """The engine of an ONNX model in an empty folder, by `build_apart`; the file that opens it."""
    file = folder / "model.onnx"
    file.write_bytes(model)
    return build_apart(file, conditions, None, on_build, place)
