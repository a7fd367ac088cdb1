"""What commands assemble for `--json` of values of several rooms: typed, loaded when a command prints it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType

from ponas_deploy.engines.choice import Choice
from ponas_deploy.engines.evaluation import Evaluation
from ponas_deploy.files.findings import Finding
from ponas_deploy.fitting import Fit, fit_document
from ponas_deploy.fitting.result import FitDocument
from ponas_deploy.profiling.devices import Inventory, Runtime
from ponas_deploy.profiling.precision import Precision, precision_of
from ponas_deploy.profiling.random_networks import RandomNetworks
from ponas_deploy.search.specialize import SpecializationDocument, specialization_document
from ponas_deploy.tables.accuracy import AccuracyCertificate, AccuracyTable
from ponas_deploy.tables.accuracy_file import AccuracyTableDocument
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.latency_file import LatencyTableDocument
from ponas_deploy.tables.measured_how import PriorSummary
from ponas_deploy.tables.store import StoredTable


@dataclass(frozen=True, slots=True)
class ChoiceDocument(SpecializationDocument):
    """What `ponas specialize --json` prints where it chooses from tables, and builds nothing.

    `margin` is the factor that the prediction was multiplied with for the `confidence` asked for, None for
    none. Nothing is `measured`. `warnings` are what there is to say against the tables.
    """

    confidence: float | None
    margin: float | None
    measured: None
    accuracy_made_on: str
    warnings: tuple[str, ...]


def choice_document(found: Choice, confidence: float | None, accuracy_made_on: str) -> ChoiceDocument:
    """A network that was chosen from tables as `ponas specialize --json` prints it."""
    chosen = specialization_document(found.specialization)
    return ChoiceDocument(
        **values_of(chosen),
        confidence=confidence,
        margin=found.margin.factor if found.margin else None,
        measured=None,
        accuracy_made_on=accuracy_made_on,
        warnings=found.warnings,
    )


def values_of(document: Any) -> dict[str, Any]:
    """The fields of a document, for one that has more of them."""
    return {field.name: getattr(document, field.name) for field in fields(document)}


@dataclass(frozen=True, slots=True)
class FittedDocument(FitDocument):
    """What `ponas table fit --json` prints: the fit, and where the table was written."""

    table: str


def fitted_document(fit: Fit, table: Path) -> FittedDocument:
    """A fit whose table was written."""
    return FittedDocument(**values_of(fit_document(fit)), table=str(table))


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


@dataclass(frozen=True, slots=True)
class PriorDocument:
    """See `PriorSummary`."""

    prior: str
    prior_sha256: str
    prior_networks: int
    prior_conditions: str
    prior_mean_error_pct: float | None
    prior_finding: str


@dataclass(frozen=True, slots=True)
class ProfiledTable:
    """A latency table that was measured, and the figures of its certificate; None where it has none.

    `reached` is how precisely it was measured, `unsettled` the number of cells that were not in time.
    """

    path: str
    name: str
    conditions: Conditions
    statistic: str
    stopped_by: str | None
    reached: Precision
    unsettled: int
    prior: PriorDocument | None
    mean_error_pct: float | None
    error_bound_pct: float | None
    worst_error_pct: float | None
    isolated_mean_error_pct: float | None
    kendall_tau: float | None
    noise_floor_pct: float | None
    noise_tau: float | None


@dataclass(frozen=True, slots=True)
class ProfileDocument:
    """What `ponas profile --json` prints."""

    tables: tuple[ProfiledTable, ...]


_OF_THE_CERTIFICATE = (
    "mean_error_pct",
    "error_bound_pct",
    "worst_error_pct",
    "isolated_mean_error_pct",
    "kendall_tau",
    "noise_floor_pct",
    "noise_tau",
)


def profile_document(made: Sequence[StoredTable], accuracy: AccuracyTable | None) -> ProfileDocument:
    """The tables that were measured; `accuracy` says which cells are in networks of the front."""
    return ProfileDocument(tuple(_profiled(stored, accuracy) for stored in made))


def _profiled(stored: StoredTable, accuracy: AccuracyTable | None) -> ProfiledTable:
    table = stored.table
    return ProfiledTable(
        path=str(stored.path),
        name=stored.name,
        conditions=stored.conditions,
        statistic=table.statistic,
        stopped_by=table.protocol.stopped_by or None,
        reached=precision_of(table, accuracy),
        unsettled=len(table.unsettled),
        prior=_prior(table.protocol.prior),
        **{name: getattr(table.certificate, name, None) for name in _OF_THE_CERTIFICATE},
    )


def _prior(prior: PriorSummary | None) -> PriorDocument | None:
    if prior is None:
        return None
    return PriorDocument(
        prior.name, prior.sha256, prior.networks, prior.conditions, prior.mean_error_pct, prior.finding
    )


@dataclass(frozen=True, slots=True)
class MeasuredNetworks:
    """What `ponas networks --json` prints: the file of whole networks, which holds each in two rows."""

    path: str
    conditions: Conditions
    networks: int
    rows: int
    fastest_ms: float
    slowest_ms: float


def measured_networks(made: RandomNetworks) -> MeasuredNetworks:
    """Whole networks that were measured and written to a file."""
    found = made.networks
    fastest_ms, slowest_ms = min(found.values), max(found.values)
    return MeasuredNetworks(
        str(found.path), made.conditions, len(set(found.choices)), len(found), fastest_ms, slowest_ms
    )


@dataclass(frozen=True, slots=True)
class RuntimeDocument:
    """The precisions of a runtime, and why it cannot be used: empty where it can."""

    precisions: tuple[str, ...]
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThisMachine:
    """See `Machine.environment`; what cannot be read is absent."""

    name: str
    processor: str
    processor_model: str | UnsetType = UNSET
    instruction_sets: str | UnsetType = UNSET
    architecture: str
    cores: str
    quota_cores: str | UnsetType = UNSET
    memory_mib: str
    os: str
    python: str
    power_mode: str | UnsetType = UNSET
    runtimes: Mapping[str, RuntimeDocument]


@dataclass(frozen=True, slots=True)
class GpuDocument:
    """The GPU of this machine and its runtimes."""

    name: str
    runtimes: Mapping[str, RuntimeDocument]


@dataclass(frozen=True, slots=True)
class DeviceTable:
    """A latency table of a device."""

    table: str
    shipped: bool
    made_on: str


@dataclass(frozen=True, slots=True)
class DevicesDocument:
    """What `ponas devices --json` prints; `unreadable` says why files of the store are no tables."""

    this_machine: ThisMachine
    gpu: GpuDocument | None
    devices: Mapping[str, tuple[DeviceTable, ...]]
    store: str
    unreadable: tuple[str, ...]


def devices_document(found: Inventory) -> DevicesDocument:
    """This machine, its GPU, and devices with tables."""
    environment: dict[str, Any] = dict(found.here.environment())
    tables = {
        device: tuple(DeviceTable(one.name, one.shipped, one.made_on) for one in tables)
        for device, tables in found.tables.items()
    }
    return DevicesDocument(
        ThisMachine(name=found.here.name, **environment, runtimes=_runtimes(found.runtimes)),
        GpuDocument(found.gpu, _runtimes(found.gpu_runtimes)) if found.gpu else None,
        tables,
        str(found.home),
        found.unreadable,
    )


def _runtimes(some: Iterable[Runtime]) -> dict[str, RuntimeDocument]:
    return {one.backend: RuntimeDocument(one.precisions, one.problem) for one in some}


@dataclass(frozen=True, slots=True)
class EvaluatedEngine:
    """The accuracy through an engine, and what the engine is."""

    folder: str
    made_for: str
    weights: str
    top1_pct: float
    top5_pct: float
    images: int


@dataclass(frozen=True, slots=True)
class EvaluationDocument:
    """What `ponas evaluate --json` prints; see `Evaluation`. `agree` is None without an engine."""

    top1_pct: float
    top5_pct: float
    images: int
    cross_entropy: float
    data: str
    split: str
    resolution: int
    space: str
    choices: tuple[str, ...]
    weights: str
    agree: bool | None
    engine: EvaluatedEngine | None


def evaluation_document(found: Evaluation) -> EvaluationDocument:
    """The accuracy through torch, and the engine's in a document of its own."""
    torch, engine = found.torch, None
    if found.engine is not None:
        accuracy = found.engine
        engine = EvaluatedEngine(
            found.engine_folder,
            found.engine_conditions,
            found.engine_weights,
            accuracy.top1_pct,
            accuracy.top5_pct,
            accuracy.images,
        )
    return EvaluationDocument(
        torch.top1_pct,
        torch.top5_pct,
        torch.images,
        found.cross_entropy,
        found.data,
        found.split,
        found.resolution,
        found.space,
        found.choices,
        found.weights,
        found.agree,
        engine,
    )
