"""Engines: a folder with the compiled network, the ONNX it came from, and a manifest that says what it is.

model.onnx        the portable network, any runtime can read it
engine.*          what the backend made of it for this device
manifest.json     architecture, budget, predicted and measured latency, tables by hash, environment,
                  SHA-256 of each file (`ponas.engine/1`)
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.errors import OverwriteError, PonasError
from ponas_deploy.records import Record, read_json, sha256, write_bytes, write_json
from ponas_deploy.tables import Conditions, SpaceKey
from ponas_deploy.timing import EngineTiming, time_engine
from searchspace.architecture import Architecture
from searchspace.graph import network_model
from searchspace.spaces import build_space
from searchspace.weights import Weights

FORMAT = "ponas.engine/1"
MODEL, MANIFEST = "model.onnx", "manifest.json"

# Largest difference from ONNX Runtime's float32 output, relative to the largest output.
TOLERANCE = {"fp32": 1e-3, "tf32": 1e-2, "fp16": 2e-2, "bf16": 1e-1}


@dataclass(frozen=True, slots=True)
class EngineFile:
    """A file of an engine folder, as it was when the engine was emitted."""

    name: str
    sha256: str
    bytes: int


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
    """

    space: SpaceKey
    choices: tuple[str, ...]
    conditions: Conditions
    weights: str
    created: str
    engine_file: str = ""
    budget: tuple[tuple[str, float], ...] = ()
    predicted: tuple[tuple[str, Any], ...] = ()
    measured: EngineTiming | None = None
    top1_pct: float | None = None
    top1_on: str = ""
    tries: int = 0
    tables: tuple[TableUsed, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[EngineFile, ...] = field(default=())

    @classmethod
    def of(cls, architecture: Architecture, conditions: Conditions, weights: str, created: str) -> Manifest:
        """The manifest of a network, before anything of it was built."""
        return cls(SpaceKey.of(architecture.space), architecture.choices, conditions, weights, created)

    @property
    def settings(self) -> RunSettings:
        """What the engine was compiled for."""
        return RunSettings(self.conditions.precision, self.conditions.threads)

    @property
    def architecture(self) -> Architecture:
        """The network of the engine."""
        space = build_space(self.space.name, self.space.resolution, self.space.classes)
        return Architecture(space, self.choices)

    @property
    def status(self) -> str:
        """One sentence: is this engine measured, and on what."""
        device = self.conditions.device
        if self.measured is None and not self.engine_file:
            return f"not built: build and measure it on {device}"
        return f"measured on {device}" if self.measured else f"built on {device}, not measured"


def build(architecture: Architecture, weights: Weights, conditions: Conditions, folder: Path) -> Path:
    """Write `model.onnx` and the backend's engine files into `folder`; returns the file that opens it."""
    model = network_model(architecture, weights, conditions.batch).SerializeToString()
    write_bytes(folder / MODEL, model)
    settings = RunSettings(conditions.precision, conditions.threads)
    return get_backend(conditions.backend).save(model, settings, folder)[0]


def refuse_existing(folder: Path, *, overwrite: bool) -> None:
    """OverwriteError when `folder` exists; never is a folder replaced that is not an engine's."""
    if folder.exists() and not overwrite:
        raise OverwriteError(folder)
    if folder.exists() and not (folder / MANIFEST).exists() and any(folder.iterdir()):
        raise PonasError(f"{folder} is not an engine folder and is not replaced: name another one.")


@contextmanager
def scratch_beside(folder: Path) -> Iterator[Path]:
    """A temporary folder on the same disk as `folder`, gone afterwards."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise PonasError(f"{folder} cannot be made: {error.strerror}.") from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def emit(
    manifest: Manifest, folder: Path, fill: Callable[[Path], None], *, overwrite: bool = False
) -> Manifest:
    """Put an engine folder in place whole or not at all; `fill` writes its files, the manifest comes last."""
    refuse_existing(folder, overwrite=overwrite)
    with scratch_beside(folder) as scratch:
        staging = scratch / folder.name
        staging.mkdir()
        fill(staging)
        files = tuple(
            EngineFile(path.name, sha256(path), path.stat().st_size) for path in sorted(staging.iterdir())
        )
        complete = replace(manifest, files=files)
        write_json(staging / MANIFEST, FORMAT, _document(complete))
        if folder.exists():
            folder.rename(scratch / "replaced")
        staging.rename(folder)
    return complete


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found. `difference` is relative to the largest reference output; None when not run."""

    changed_files: tuple[str, ...]
    difference: float | None
    tolerance: float
    timing: EngineTiming | None
    budget_ms: float | None

    @property
    def outputs_agree(self) -> bool:
        """Whether the engine computes what ONNX Runtime computes from the portable model."""
        return self.difference is None or self.difference <= self.tolerance

    @property
    def meets_budget(self) -> bool:
        """Whether the median measured now is at or under the budget, within this measurement's noise."""
        if self.budget_ms is None or self.timing is None:
            return True
        return self.timing.percentile_ms(50) <= self.budget_ms * (1 + self.timing.noise_floor_pct / 100)

    @property
    def passed(self) -> bool:
        """Whether everything holds."""
        return not self.changed_files and self.outputs_agree and self.meets_budget


def verify(folder: Path) -> tuple[Manifest, Verification]:
    """Check the files against the manifest, the outputs against ONNX Runtime, and measure again."""
    manifest = read_manifest(folder)
    changed = tuple(file.name for file in manifest.files if not _intact(folder / file.name, file))
    budget = dict(manifest.budget).get("latency_ms")
    tolerance = TOLERANCE.get(manifest.conditions.precision, TOLERANCE["fp32"])
    if changed or not manifest.engine_file:
        return manifest, Verification(changed, None, tolerance, None, budget)
    engine, backend = folder / manifest.engine_file, manifest.conditions.backend
    difference = _difference(folder / MODEL, engine, manifest)
    timing = time_engine(engine, backend, manifest.settings)
    return manifest, Verification((), difference, tolerance, timing, budget)


def _intact(path: Path, file: EngineFile) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes and sha256(path) == file.sha256


def _difference(model: Path, engine: Path, manifest: Manifest) -> float:
    shape = (manifest.conditions.batch, 3, manifest.space.resolution, manifest.space.resolution)
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    with get_backend("onnxruntime").load(model.read_bytes(), RunSettings()) as session:
        expected = session.run(images)
    with get_backend(manifest.conditions.backend).open(engine, manifest.settings) as session:
        found = session.run(images)
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an engine folder; FileFormatError names the place of a fault."""
    record = read_json(folder / MANIFEST, FORMAT)
    conditions = record.record("conditions")
    return Manifest(
        space=SpaceKey.from_record(record.record("space")),
        choices=record.texts("choices"),
        conditions=Conditions.from_record(conditions),
        weights=record.text("weights"),
        created=record.text("created"),
        engine_file=record.text("engine_file"),
        budget=_numbers(record.record("budget")),
        predicted=tuple(record.record("predicted").data.items()),
        measured=_read_timing(record.record("measured")) if "measured" in record else None,
        top1_pct=record.number("top1_pct") if "top1_pct" in record else None,
        top1_on=record.text("top1_on"),
        tries=record.integer("tries"),
        tables=tuple(
            TableUsed(t.text("kind"), t.text("name"), t.text("sha256"), t.text("made_on"))
            for t in record.records("tables")
        ),
        environment=record.strings("environment"),
        files=tuple(
            EngineFile(_plain_name(f), f.text("sha256"), f.integer("bytes")) for f in record.records("files")
        ),
    )


def _plain_name(file: Record) -> str:
    name = file.text("name")
    if Path(name).name != name:
        raise file.error("name", f"is '{name}', expected a file of the engine folder.")
    return name


def _numbers(record: Record) -> tuple[tuple[str, float], ...]:
    return tuple((name, record.number(name)) for name in record.data)


def _read_timing(record: Record) -> EngineTiming:
    processes = record.data.get("processes_ns")
    if not isinstance(processes, list) or not processes or not all(processes):
        raise record.error("processes_ns", "holds no measured inferences.")
    return EngineTiming(tuple(tuple(process) for process in processes))


def measured_document(timing: EngineTiming) -> dict[str, float]:
    """The figures of a measurement, as `--json` and the manifest print them."""
    return {
        "p50_ms": timing.percentile_ms(50),
        "p90_ms": timing.percentile_ms(90),
        "p95_ms": timing.percentile_ms(95),
        "p99_ms": timing.percentile_ms(99),
        "noise_floor_pct": timing.noise_floor_pct,
        "runs": timing.runs,
    }


def _document(manifest: Manifest) -> Mapping[str, Any]:
    measured = None
    if manifest.measured:
        processes = [list(process) for process in manifest.measured.processes_ns]
        measured = {**measured_document(manifest.measured), "processes_ns": processes}
    return {
        "status": manifest.status,
        "space": manifest.space.document(),
        "choices": list(manifest.choices),
        "conditions": manifest.conditions.document(),
        "weights": manifest.weights,
        "created": manifest.created,
        "engine_file": manifest.engine_file,
        "budget": dict(manifest.budget),
        "predicted": dict(manifest.predicted),
        "measured": measured,
        "top1_pct": manifest.top1_pct,
        "top1_on": manifest.top1_on,
        "tries": manifest.tries,
        "tables": [
            {"kind": t.kind, "name": t.name, "sha256": t.sha256, "made_on": t.made_on}
            for t in manifest.tables
        ],
        "environment": dict(manifest.environment),
        "files": [{"name": f.name, "sha256": f.sha256, "bytes": f.bytes} for f in manifest.files],
    }
