"""The runtimes behind one small door: a backend compiles an ONNX model, a session runs and times it."""

from ponas_deploy.backends.progress import BuildProgress, OnBuildProgress
from ponas_deploy.backends.protocol import (
    BACKENDS,
    FAKE,
    INT8,
    Backend,
    Calibrated,
    RunSettings,
    Session,
    TellsProgress,
    TimesLayers,
    get_backend,
    known_backends,
)

__all__ = [
    "BACKENDS",
    "FAKE",
    "INT8",
    "Backend",
    "BuildProgress",
    "Calibrated",
    "OnBuildProgress",
    "RunSettings",
    "Session",
    "TellsProgress",
    "TimesLayers",
    "get_backend",
    "known_backends",
]
