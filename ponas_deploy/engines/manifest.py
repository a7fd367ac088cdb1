"""The manifest of an engine folder: what the engine is. `manifest_file` reads and writes it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

from ponas_deploy.backends import RunSettings
from ponas_deploy.engines.precisions import PrecisionGain, PrecisionLoss
from ponas_deploy.engines.preprocessing import Preprocessing
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.engines.verdict import CANNOT_BE_TOLD, Verdict, judge, why_not_told
from ponas_deploy.files.bounds import Count
from ponas_deploy.machines.advice import command_for
from ponas_deploy.machines.energy import EnergyTaken
from ponas_deploy.machines.process_memory import MemoryTaken
from ponas_deploy.search.costs import LATENCY
from ponas_deploy.search.precisions import BestInPrecision
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import ESTIMATE, Conditions
from searchspace.architecture import Architecture
from searchspace.mixed import is_mixed, precisions
from searchspace.spaces import build_space

MODEL, MANIFEST = "model.onnx", "manifest.json"
_GPUS_OF = "compute-capability-"


def gpus_of(compute_capability: str) -> str:
    """The device in the conditions of an engine that is for all GPUs of a compute capability ("8.9")."""
    return f"{_GPUS_OF}{compute_capability}"


@dataclass(frozen=True, slots=True)
class Shortlisted:
    """A network that was evaluated: what the tables said of it, what the images said, and who won."""

    choices: tuple[str, ...]
    predicted_ms: float
    predicted_loss_pp: float
    validation_top1_pct: float
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class EngineFile:
    """A file of an engine folder, as it was when the engine was emitted."""

    name: str
    sha256: str
    bytes: Count


@dataclass(frozen=True, slots=True)
class TableUsed:
    """A table an engine was chosen with: its kind, where it lay, its hash, and what it was made on."""

    kind: str
    name: str
    sha256: str
    made_on: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an engine is. Predicted and measured latency never share a field.

    `engine_file` is empty where the engine is still to be built on its device; then `measured` is None.
    `budget` and `predicted` are documents of the specialization (empty for an exported architecture).
    The latency budget is on the `percentile` of single inferences. `top1_fp32_pct` is that of an INT8
    engine's network in full precision, on the same images. `warnings` are what there was to say
    against the tables. `preprocessing` is how images become the network's input, and
    `class_names` are in the order of its outputs, where the weights say it. `batch_norm` says whether the
    statistics were recalibrated for this network; empty for weights that are its own. Weights that were not
    `trained` are random ones. `checked` are the limits besides latency that were checked on the engine, by
    the names of their columns. `throughput` are the images a second that were asked for: the latency budget
    is what follows from it. `precision_losses` are what was counted for precisions that lose accuracy,
    `precision_gains` what the network takes in them by the tables. `by_precision` are the best networks
    within the budget in fp32 alone, in int8 alone and mixed, by each table of mixed precision.
    """

    space: SpaceKey
    choices: tuple[str, ...]
    conditions: Conditions
    weights: str
    created: str
    engine_file: str = ""
    budget: tuple[tuple[str, float], ...] = ()
    percentile: int = 50
    predicted: tuple[tuple[str, Any], ...] = ()
    measured: EngineTiming | None = None
    top1_pct: float | None = None
    top1_fp32_pct: float | None = None
    top1_on: str = ""
    tries: Count = 0
    tables: tuple[TableUsed, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    shortlist: tuple[Shortlisted, ...] = ()
    warnings: tuple[str, ...] = ()
    files: tuple[EngineFile, ...] = field(default=())
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] = ()
    batch_norm: str = ""
    trained: bool = True
    checked: tuple[str, ...] = ()
    throughput: float | None = None
    precision_losses: tuple[PrecisionLoss, ...] = ()
    precision_gains: tuple[PrecisionGain, ...] = ()
    by_precision: tuple[BestInPrecision, ...] = ()

    @classmethod
    def of(cls, architecture: Architecture, conditions: Conditions, weights: str, created: str) -> Manifest:
        """The manifest of a network, before anything of it was built."""
        return cls(SpaceKey.of(architecture.space), architecture.choices, conditions, weights, created)

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precision of each layer, fp32 or int8; empty but in mixed precision."""
        return precisions(self.choices) if is_mixed(self.space.name) else ()

    @property
    def settings(self) -> RunSettings:
        """What the engine was compiled for."""
        how = self.conditions
        return RunSettings(how.precision, how.threads, how.streams)

    @property
    def architecture(self) -> Architecture:
        """The network of the engine."""
        space = build_space(self.space.name, self.space.resolution, self.space.classes)
        return Architecture(space, self.choices)

    @property
    def engine_bytes(self) -> int:
        """What the files of the engine take, without the portable network; 0 where it is not built."""
        return sum(file.bytes for file in self.files if file.name != MODEL)

    @property
    def budget_ms(self) -> float | None:
        """The latency budget that the engine was made for, None without one."""
        return dict(self.budget).get(LATENCY.name)

    @property
    def verdict(self) -> Verdict | None:
        """Whether it met its latency budget when it was emitted; None without a budget or a measurement."""
        if self.measured is None:
            return None
        noise_pct = self.measured.noise_pct(self.percentile)
        return judge(self.measured.percentile_ms(self.percentile), self.budget_ms, noise_pct)

    @property
    def not_told(self) -> str:
        """Why it cannot be told whether it meets its budget, and what to do; empty where it can."""
        if self.verdict != CANNOT_BE_TOLD or self.measured is None or self.budget_ms is None:
            return ""
        percentile = self.percentile
        noise_pct = self.measured.noise_pct(percentile)
        measured_ms = self.measured.percentile_ms(percentile)
        why = why_not_told(measured_ms, self.budget_ms, noise_pct, self.conditions.device)
        return f"{why} `ponas verify` does that."

    @property
    def compute_capability(self) -> str:
        """That of the GPUs which the engine was built for where there was none; else empty."""
        device = self.conditions.device
        return device[len(_GPUS_OF) :] if device.startswith(_GPUS_OF) and self.engine_file else ""

    @property
    def export_there(self) -> str:
        """The command that makes the same engine on a machine with the GPU, and measures it there."""
        how, key = self.conditions, self.space
        words = ["ponas", "export", self.architecture.name, "--device", "gpu", "--backend", how.backend]
        words += ["--precision", how.precision, "--batch", str(how.batch), "--space", key.name]
        words += ["--resolution", str(key.resolution), "--classes", str(key.classes)]
        words += ["--weights", "FILE"] if self.trained else []
        return shlex.join(words)

    @property
    def status(self) -> str:
        """One sentence: is this engine measured, and on what."""
        device = self.conditions.device
        if self.measured is None and not self.engine_file:
            command = command_for(f"ponas measure {MODEL}", device)
            is_so = "estimated, not measured" if self.conditions.backend == ESTIMATE else "not built"
            return f"{is_so}: build and measure it on {device} (in its folder: {command})"
        if self.compute_capability and not self.measured:
            return (
                f"built for GPUs of compute capability {self.compute_capability}, not run: still to be"
                " measured on one. There `ponas verify FOLDER --here` checks and measures it and writes"
                f" nothing; `{self.export_there}` makes an engine that is measured"
            )
        return f"measured on {device}" if self.measured else f"built on {device}, not measured"


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """The figures of a measurement, as `--json` and the manifest print them.

    Percentiles are of single inferences, the noise floor is that of the budget's percentile, `shared_pct` how
    many inferences met a shared core; `span_s` is from the first process to the last. `memory` is that of the
    process that took most, `energy` that of the one in the middle; None where it was not measured, and
    `no_energy` says why where it was asked for.
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
    memory: MemoryTaken | None = None
    energy: EnergyTaken | None = None
    no_energy: str = ""
    back_to_back: bool = False

    @classmethod
    def of(cls, timing: EngineTiming, percentile: int = 50) -> EngineFigures:
        """Of what the clock said; the noise floor of a percentile."""
        return cls(
            p50_ms=timing.percentile_ms(50),
            p90_ms=timing.percentile_ms(90),
            p95_ms=timing.percentile_ms(95),
            p99_ms=timing.percentile_ms(99),
            noise_floor_pct=timing.noise_pct(percentile),
            runs=timing.runs,
            processes=len(timing.processes_ns),
            span_s=timing.span_s,
            shared_pct=timing.shared_pct,
            memory=timing.most_memory,
            energy=timing.middle_energy,
            no_energy=timing.no_energy,
            back_to_back=timing.back_to_back,
        )
