"""What `ponas profile --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ponas_deploy.profiling.precision import Precision, precision_of
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.measured_how import EstimateSummary, PriorSummary
from ponas_deploy.tables.store import StoredTable


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

    Where there is an `estimate` nothing was measured.

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
    estimate: EstimateSummary | None
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
        estimate=table.protocol.estimate,
        **{name: getattr(table.certificate, name, None) for name in _OF_THE_CERTIFICATE},
    )


def _prior(prior: PriorSummary | None) -> PriorDocument | None:
    if prior is None:
        return None
    return PriorDocument(
        prior.name, prior.sha256, prior.networks, prior.conditions, prior.mean_error_pct, prior.finding
    )
