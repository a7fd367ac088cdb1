"""Latency tables and accuracy tables: values, files, imports from CSV.

Each name is loaded when it is first asked for: what measures needs `measurement` alone (`_door`).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ponas_deploy.tables.accuracy import (
        AccuracyCertificate,
        AccuracyOrigin,
        AccuracyTable,
    )
    from ponas_deploy.tables.accuracy_file import write_accuracy_table
    from ponas_deploy.tables.files import load_accuracy_table, load_latency_table, load_table, sift_table
    from ponas_deploy.tables.frames import to_frame
    from ponas_deploy.tables.grid import Grid, SpaceKey
    from ponas_deploy.tables.latency import (
        Certificate,
        Conditions,
        Correction,
        LatencyTable,
        NetworkLatency,
    )
    from ponas_deploy.tables.latency_file import write_latency_table
    from ponas_deploy.tables.measured_how import MeasurementProtocol
    from ponas_deploy.tables.measurement import STATISTICS, Measurement
else:
    from ponas_deploy.tables._door import __getattr__ as __getattr__

__all__ = [
    "STATISTICS",
    "AccuracyCertificate",
    "AccuracyOrigin",
    "AccuracyTable",
    "Certificate",
    "Conditions",
    "Correction",
    "Grid",
    "LatencyTable",
    "Measurement",
    "MeasurementProtocol",
    "NetworkLatency",
    "SpaceKey",
    "load_accuracy_table",
    "load_latency_table",
    "load_table",
    "sift_table",
    "to_frame",
    "write_accuracy_table",
    "write_latency_table",
]
