"""What `ponas verify --json` prints."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from ponas_deploy.checks.engine import CheckedNow, Verification
from ponas_deploy.engines.documents import MeasuredFigures, measured_figures
from ponas_deploy.engines.verdict import Verdict


@dataclass(frozen=True, slots=True)
class LayerTime:
    """What a layer takes."""

    name: str
    ms: float


@dataclass(frozen=True, slots=True)
class ComparedNow:
    """A kind of input, how many there were, and how far the outputs were off; None for NaN."""

    what: str
    inputs: int
    difference: float | None


@dataclass(frozen=True, slots=True)
class VerificationDocument:
    """What `ponas verify --json` prints; see `Verification`. What was not reached is None.

    `meets_budget` is False too where `verdict` says that it cannot be told. `machine_factor` is how many
    times as long this machine takes now as when the engine was emitted, by the reference network;
    `engine_factor` is what that does not explain of the engine's own time.
    """

    passed: bool
    status: str
    trained: bool
    changed_files: tuple[str, ...]
    architecture_agrees: bool | None
    portable_answers: bool | None
    outputs_agree: bool
    difference: float | None
    compared: tuple[ComparedNow, ...]
    tolerance: float
    budget_ms: float | None
    percentile: int
    noise_floor_pct: float
    meets_budget: bool
    verdict: Verdict | None
    machine_factor: float | None
    engine_factor: float | None
    warnings: tuple[str, ...]
    measured: MeasuredFigures | None
    layers: tuple[LayerTime, ...] | None
    engine_bytes: int | None
    checked: tuple[CheckedNow, ...]


def verification_document(
    found: Verification, layers: tuple[tuple[str, float], ...] = ()
) -> VerificationDocument:
    """What `ponas verify --json` prints; `layers` are names and milliseconds, where they were timed."""
    timing = found.timing
    return VerificationDocument(
        passed=found.passed,
        status=found.manifest.status,
        trained=found.manifest.trained,
        changed_files=found.changed_files,
        architecture_agrees=found.architecture_agrees,
        portable_answers=found.portable_answers,
        outputs_agree=found.outputs_agree,
        difference=_number(found.difference),
        compared=tuple(ComparedNow(one.what, one.inputs, _number(one.difference)) for one in found.compared),
        tolerance=found.tolerance,
        budget_ms=found.budget_ms,
        percentile=found.percentile,
        noise_floor_pct=found.noise_pct,
        meets_budget=found.meets_budget,
        verdict=found.verdict,
        machine_factor=found.change.machine if found.change else None,
        engine_factor=found.change.engine if found.change else None,
        warnings=found.warnings,
        measured=measured_figures(timing, found.percentile, found.manifest.conditions) if timing else None,
        layers=tuple(LayerTime(name, ms) for name, ms in layers) or None,
        engine_bytes=found.manifest.engine_bytes or None,
        checked=found.checked,
    )


def _number(value: float | None) -> float | None:
    """JSON has no infinity: an engine that answers with NaN only does not agree."""
    return None if value == inf else value
