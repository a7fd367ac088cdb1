"""Which file each name of this room's door comes from, so that a name loads its own file and no other.

The measuring room runs on boards that have NumPy and a runtime alone; it takes `Measurement` from here, and
must not load what reads and writes documents.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_FILES = {
    "accuracy": (
        "AccuracyCertificate",
        "AccuracyOrigin",
        "AccuracyTable",
    ),
    "accuracy_file": ("write_accuracy_table",),
    "files": (
        "load_accuracy_table",
        "load_latency_table",
        "load_table",
        "sift_table",
    ),
    "frames": ("to_frame",),
    "grid": (
        "Grid",
        "SpaceKey",
    ),
    "latency": (
        "Certificate",
        "Conditions",
        "Correction",
        "LatencyTable",
        "NetworkLatency",
    ),
    "latency_file": ("write_latency_table",),
    "measured_how": ("MeasurementProtocol",),
    "measurement": (
        "STATISTICS",
        "Measurement",
    ),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A name of the door, as `from ponas_deploy.tables import name` asks for it."""
    if name not in _FILE_OF:
        raise AttributeError(f"module 'ponas_deploy.tables' has no attribute '{name}'")
    return getattr(import_module(f"ponas_deploy.tables.{_FILE_OF[name]}"), name)
