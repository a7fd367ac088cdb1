"""The runtimes behind one small door: a backend compiles an ONNX model, a session runs and times it."""

from ponas_deploy.backends.fake import FakeBackend
from ponas_deploy.backends.progress import BuildProgress, OnBuildProgress
from ponas_deploy.backends.protocol import (
    INT8,
    MIXED,
    QUANTISED,
    Backend,
    Calibrated,
    ReportsProgress,
    RunSettings,
    Session,
    TimesLayers,
)
from ponas_deploy.backends.registry import get_backend, known_backends

__all__ = [
    "INT8",
    "MIXED",
    "QUANTISED",
    "Backend",
    "BuildProgress",
    "Calibrated",
    "FakeBackend",
    "OnBuildProgress",
    "ReportsProgress",
    "RunSettings",
    "Session",
    "TimesLayers",
    "get_backend",
    "known_backends",
]
