"""What `ponas compare --device cpu --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ponas_deploy.engines.compared import Comparison, Kind, Measured, Place, Top1, Verdict
from ponas_deploy.tables.latency import Conditions


@dataclass(frozen=True, slots=True)
class MeasuredNetwork:
    """See `Entry` and `Measured`; `key` tells it from the others of its comparison."""

    key: str
    name: str
    kind: Kind
    resolution_px: int | None
    choices: tuple[str, ...]
    budgets_ms: tuple[float, ...]
    predicted_ms: float | None
    measured_ms: float
    noise_pct: float
    top1: Top1 | None
    params: int | None
    macs: int | None
    front: Place


@dataclass(frozen=True, slots=True)
class BudgetVerdict:
    """See `Verdict`; networks by their keys."""

    budget_ms: float
    specialised: str
    other: str | None
    gain_points: float | None
    near: str | None
    near_gain_points: float | None
    pays: bool | None
    over_budget: bool
    text: str


@dataclass(frozen=True, slots=True)
class ComparisonDocument:
    """See `Comparison`."""

    device: Conditions
    networks: tuple[MeasuredNetwork, ...]
    budgets: tuple[BudgetVerdict, ...]
    summary: str
    noise_floor_pct: float
    rounds: int
    shared_pct: float
    disturbed: str
    warnings: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ComparisonsDocument:
    """What `ponas compare --device cpu --json` prints: one comparison for each runtime and precision."""

    comparisons: tuple[ComparisonDocument, ...]


def comparisons_document(found: Sequence[Comparison]) -> ComparisonsDocument:
    """Comparisons as `ponas compare --json` prints them."""
    return ComparisonsDocument(tuple(map(_comparison, found)))


def _comparison(one: Comparison) -> ComparisonDocument:
    return ComparisonDocument(
        one.conditions,
        tuple(map(_network, one.networks)),
        tuple(map(_verdict, one.verdicts)),
        one.summary,
        one.floor_pct,
        one.rounds,
        one.shared_pct,
        one.disturbed,
        one.warnings,
        one.left_out,
    )


def _network(one: Measured) -> MeasuredNetwork:
    entry = one.entry
    return MeasuredNetwork(
        entry.key,
        entry.name,
        entry.kind,
        entry.resolution_px,
        entry.choices,
        entry.budgets_ms,
        entry.predicted_ms,
        one.measured_ms,
        one.noise_pct,
        entry.top1,
        entry.params,
        entry.macs,
        one.front,
    )


def _verdict(one: Verdict) -> BudgetVerdict:
    return BudgetVerdict(
        one.budget_ms,
        one.specialised.entry.key,
        one.other.entry.key if one.other else None,
        one.gain_points,
        one.near.entry.key if one.near else None,
        one.near_gain_points,
        one.pays,
        one.over_budget,
        one.text,
    )
