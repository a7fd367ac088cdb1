"""Latency tables and accuracy tables: values, files, imports from CSV."""

from pathlib import Path

from ponas_deploy.tables.accuracy import (
    AccuracyCertificate,
    AccuracyOrigin,
    AccuracyTable,
    read_accuracy_table,
    write_accuracy_table,
)
from ponas_deploy.tables.csv_import import accuracy_from_csv, latency_from_csv
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import (
    Certificate,
    Conditions,
    Correction,
    LatencyTable,
    NetworkLatency,
    read_latency_table,
    write_latency_table,
)
from ponas_deploy.tables.measurement import STATISTICS, Measurement

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
    "NetworkLatency",
    "SpaceKey",
    "load_accuracy_table",
    "load_latency_table",
    "write_accuracy_table",
    "write_latency_table",
]


def load_latency_table(path: Path) -> LatencyTable:
    """A latency table from JSON, or from CSV where the name ends in .csv."""
    return latency_from_csv(path) if path.suffix.lower() == ".csv" else read_latency_table(path)


def load_accuracy_table(path: Path) -> AccuracyTable:
    """An accuracy table from JSON, or from CSV where the name ends in .csv."""
    return accuracy_from_csv(path) if path.suffix.lower() == ".csv" else read_accuracy_table(path)
