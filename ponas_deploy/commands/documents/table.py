"""What `ponas table fit`, `show`, `import` and `certify` print with `--json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.commands.documents.values import values_of
from ponas_deploy.files.findings import Finding
from ponas_deploy.fitting import Fit, fit_document
from ponas_deploy.fitting.result import FitDocument
from ponas_deploy.tables.accuracy import AccuracyCertificate
from ponas_deploy.tables.accuracy_file import AccuracyTableDocument
from ponas_deploy.tables.foreign import Source
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.importing import ImportedTable
from ponas_deploy.tables.latency_file import LatencyTableDocument
from ponas_deploy.tables.once_for_all import LackingCell


@dataclass(frozen=True, slots=True)
class FittedDocument(FitDocument):
    """What `ponas table fit --json` prints: the fit, and where the table was written."""

    table: str


def fitted_document(fit: Fit, table: Path) -> FittedDocument:
    """A fit whose table was written."""
    return FittedDocument(**values_of(fit_document(fit)), table=str(table))


@dataclass(frozen=True, slots=True)
class ImportedDocument:
    """What `ponas table import --json` prints: whose table it was, what it lacked, where ours was written.

    `space` is None where a cell of the space is lacking, and for a table with layers of its own.
    """

    source: Source
    space: SpaceKey | None
    layers: int
    cells: int
    fixed_latency_ms: float
    lacking: tuple[LackingCell, ...]
    notes: tuple[str, ...]
    table: str


def imported_document(made: ImportedTable, table: Path) -> ImportedDocument:
    """An imported table that was written."""
    grid = made.table.grid
    cells = sum(map(len, grid.candidates))
    return ImportedDocument(
        made.source,
        made.table.space,
        len(grid.layers),
        cells,
        grid.fixed,
        made.lacking,
        made.notes,
        str(table),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownLatencyTable(LatencyTableDocument):
    """What `ponas table show --json` prints of a latency table: the document, and findings about it."""

    format: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAccuracyTable(AccuracyTableDocument):
    """What `ponas table show --json` prints of an accuracy table: the document, ties and findings."""

    format: str
    ties: tuple[tuple[str, ...], ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedDocument(AccuracyCertificate):
    """What `ponas table certify --json` prints: the certificate, and where the table was written."""

    table: str


def certified_document(certificate: AccuracyCertificate, table: Path) -> CertifiedDocument:
    """A certificate whose table was written."""
    return CertifiedDocument(**values_of(certificate), table=str(table))
