"""What is printed of an engine with `--json`: typed values, and how they are made of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType

from ponas_deploy.engines.manifest import Manifest, Shortlisted
from ponas_deploy.engines.precisions import PrecisionGain, PrecisionLoss
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.engines.verdict import Verdict
from ponas_deploy.search.costs import costs_document, network_costs, with_costs
from ponas_deploy.search.precisions import BestInPrecision
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.measurement import PERCENTILES


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """Peak resident set in bytes: of a process with the engine, of one that only imported the runtime, and
    the difference; `gpu_bytes` is None where nothing says it."""

    peak_bytes: int
    runtime_bytes: int
    engine_bytes: int
    gpu_bytes: int | None


@dataclass(frozen=True, slots=True)
class EnergyFigures:
    """Millijoules an inference, with what the machine takes idle and without it, and the idle watts.

    `source` is what counts; all it counts is in it, whoever worked there. `noise_pct` is how far processes
    lie apart, `inferences` how many were counted in one.
    """

    mj: float
    above_idle_mj: float
    idle_w: float
    noise_pct: float
    inferences: int
    source: str


@dataclass(frozen=True, slots=True)
class MeasuredFigures:
    """Latency of single inferences in ms by percentile, the noise floor, and what it was measured in.

    `span_s` is from the start of the first process to that of the last, `shared_pct` the share of samples
    taken while somebody shared the core. `images_per_s` is there where throughput was measured: then the
    percentiles are of means of inferences one right after another. What was not measured is None, and
    `no_energy` says why where energy was asked for.
    """

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    noise_floor_pct: float
    runs: int
    processes: int
    span_s: float
    shared_pct: float
    images_per_s: float | None = None
    memory: MemoryFigures | None = None
    energy: EnergyFigures | None = None
    no_energy: str = ""


@dataclass(frozen=True, slots=True)
class TableNamed:
    """A table that an engine was chosen with, and what it was made on."""

    kind: str
    name: str
    made_on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDocument:
    """What `ponas specialize --device` and `ponas export` print with `--json`; see `Manifest`.

    The keys up to `margin` are the search's, and absent where an architecture was given; those of top-1 where
    the accuracy table only ranks, too. Weights that were not `trained` are random. `resolution` is that of
    the input in pixels, `engine` is the folder, `verdict` says whether the measured latency meets the budget.
    `top1_fp32_pct` is of an INT8 engine's network in full precision.
    The costs of the network follow, by the names of their columns. `engine_bytes` is what the engine's files
    take, `checked` the limits besides latency that were checked on the engine, `throughput` the images a
    second that were asked for. `precisions` are those of the layers in mixed precision,
    `precision_losses` and `precision_gains` are of precisions that lose accuracy, `by_precision` the best
    networks within the budget in fp32 alone, in int8 alone and mixed, by each table of mixed precision.
    """

    method: str | UnsetType = UNSET
    optimal: bool | UnsetType = UNSET
    predicted_ms: float | UnsetType = UNSET
    predicted_loss_pp: float | UnsetType = UNSET
    predicted_top1_pct: float | UnsetType = UNSET
    predicted_top1_of: str | UnsetType = UNSET
    gap_pp: float | UnsetType | None = UNSET
    evaluations: int | UnsetType = UNSET
    expected_ms: float | UnsetType = UNSET
    confidence: float | UnsetType = UNSET
    margin: float | UnsetType | None = UNSET
    predicted_memory_bytes: float | UnsetType = UNSET
    budget: Mapping[str, float]
    percentile: int
    choices: tuple[str, ...]
    resolution: int
    engine: str
    measured: MeasuredFigures | None
    verdict: Verdict | None
    device: Conditions
    status: str
    tries: int
    weights: str
    trained: bool
    batch_norm: str
    top1_pct: float | None
    top1_fp32_pct: float | None
    shortlist: tuple[Shortlisted, ...]
    warnings: tuple[str, ...]
    tables: tuple[TableNamed, ...]
    files: tuple[str, ...]
    engine_bytes: int | None
    checked: tuple[str, ...]
    throughput: float | None
    precisions: tuple[str, ...] | UnsetType = UNSET
    precision_losses: tuple[PrecisionLoss, ...] = ()
    precision_gains: tuple[PrecisionGain, ...] = ()
    by_precision: tuple[BestInPrecision, ...] = ()


def engine_document_type() -> type[EngineDocument]:
    """The type with the costs that are known now."""
    return with_costs(EngineDocument)


def engine_document(manifest: Manifest, folder: Path) -> EngineDocument:
    """An engine as `ponas specialize --json` and `ponas export --json` print it."""
    costs: dict[str, Any] = {**costs_document(network_costs(manifest.architecture))}
    return engine_document_type()(
        **dict(manifest.predicted),
        **costs,
        budget=dict(manifest.budget),
        percentile=manifest.percentile,
        choices=manifest.choices,
        resolution=manifest.space.resolution,
        engine=str(folder),
        measured=measured_figures(manifest.measured, manifest.percentile, manifest.conditions)
        if manifest.measured
        else None,
        verdict=manifest.verdict,
        device=manifest.conditions,
        status=manifest.status,
        tries=manifest.tries,
        weights=manifest.weights,
        trained=manifest.trained,
        batch_norm=manifest.batch_norm,
        top1_pct=manifest.top1_pct,
        top1_fp32_pct=manifest.top1_fp32_pct,
        shortlist=manifest.shortlist,
        warnings=(*manifest.warnings, *filter(None, (manifest.not_told,))),
        tables=tuple(TableNamed(one.kind, one.name, one.made_on) for one in manifest.tables),
        files=tuple(file.name for file in manifest.files),
        engine_bytes=manifest.engine_bytes or None,
        checked=manifest.checked,
        throughput=manifest.throughput,
        precisions=manifest.precisions or UNSET,
        precision_losses=manifest.precision_losses,
        precision_gains=manifest.precision_gains,
        by_precision=manifest.by_precision,
    )


def measured_figures(timing: EngineTiming, percentile: int, conditions: Conditions) -> MeasuredFigures:
    """The figures of a measurement; the noise floor is that of the percentile."""
    memory, energy = timing.most_memory, timing.middle_energy
    p50_ms, p90_ms, p95_ms, p99_ms = map(timing.percentile_ms, PERCENTILES)
    return MeasuredFigures(
        p50_ms,
        p90_ms,
        p95_ms,
        p99_ms,
        timing.noise_pct(percentile),
        timing.runs,
        len(timing.processes_ns),
        timing.span_s,
        timing.shared_pct,
        timing.images_per_s(conditions.batch, conditions.streams),
        MemoryFigures(memory.peak_bytes, memory.runtime_bytes, memory.engine_bytes, memory.gpu_bytes or None)
        if memory
        else None,
        EnergyFigures(
            energy.mj,
            energy.above_idle_mj,
            energy.idle_w,
            timing.energy_noise_pct,
            energy.inferences,
            energy.source,
        )
        if energy
        else None,
        timing.no_energy,
    )
