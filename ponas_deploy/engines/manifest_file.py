"""`manifest.json` (`ponas.engine/2`): the one reader and writer of an engine's manifest.

It names architecture, budget, predicted and measured latency, tables by hash, environment, and SHA-256 and
size of each file. The reader believes nothing that it can compare: the space is known and still the same, the
choices fit it, and what is opened is among the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from ponas_deploy.engines.manifest import (
    MANIFEST,
    MODEL,
    EngineFigures,
    EngineFile,
    Manifest,
    Shortlisted,
    TableUsed,
)
from ponas_deploy.engines.precisions import PrecisionGain, PrecisionLoss
from ponas_deploy.engines.preprocessing import Preprocessing
from ponas_deploy.engines.reference import ReferenceTiming
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.engines.verdict import Verdict
from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.bounds import AboveZero, Count, Nanoseconds, Resolution
from ponas_deploy.files.class_names import ClassNames, checked
from ponas_deploy.files.documents import Format, compact, encoded, read_raw, refuse_unknown
from ponas_deploy.files.normalisation import ChannelOrder
from ponas_deploy.files.records import in_words, write_json
from ponas_deploy.machines.energy import EnergyTaken
from ponas_deploy.machines.process_memory import MemoryTaken
from ponas_deploy.search.precisions import BestInPrecision
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.latency_upgrade import renamed
from ponas_deploy.tables.measurement import PERCENTILES
from ponas_deploy.tables.rounds import Round
from searchspace.architecture import Architecture
from searchspace.mixed import precisions
from searchspace.spaces import SPACES, build_space, fingerprint_of, is_known


@dataclass(frozen=True, slots=True)
class MeasuredDocument:
    """See `EngineTiming`, and `EngineFigures` for the figures, which are derived from it."""

    processes_ns: Annotated[
        tuple[Annotated[tuple[Nanoseconds, ...], Meta(min_length=1)], ...], Meta(min_length=1)
    ]
    started_s: tuple[float, ...] = ()
    interference: tuple[Round, ...] = ()
    reproducibility_pct: float = 0.0
    reference: ReferenceTiming | None = None
    memory: tuple[MemoryTaken, ...] = ()
    energy: tuple[EnergyTaken, ...] = ()
    no_energy: str = ""
    back_to_back: bool = False
    p50_ms: float | UnsetType = UNSET
    p90_ms: float | UnsetType = UNSET
    p95_ms: float | UnsetType = UNSET
    p99_ms: float | UnsetType = UNSET
    noise_floor_pct: float | UnsetType = UNSET
    runs: Count | UnsetType = UNSET
    processes: Count | UnsetType = UNSET
    span_s: float | UnsetType = UNSET
    shared_pct: float | UnsetType = UNSET

    def __post_init__(self) -> None:
        started, processes = len(self.started_s), len(self.processes_ns)
        if started and started != processes:
            raise ValueError(f"started_s: holds {started} times of {processes} processes.")


@dataclass(frozen=True, slots=True)
class PreprocessingDocument:
    """See `Preprocessing`; `crop_px` is the space's resolution."""

    mean: tuple[float, float, float]
    std: tuple[AboveZero, AboveZero, AboveZero]
    resize_px: Resolution
    channel_order: ChannelOrder = "RGB"
    crop_px: Resolution | None = None


@dataclass(frozen=True, slots=True)
class ManifestDocument:
    """See `Manifest`; `status` and `verdict` say in words what stands in the rest.

    `precisions` are those of the layers in mixed precision, which the choices say too.
    `trained` is lacking in manifests of before it was written: their `weights` say whether they are random.
    """

    space: SpaceKey
    choices: tuple[str, ...]
    conditions: Conditions
    weights: str
    created: str
    engine_file: str
    budget: Mapping[str, float]
    predicted: Mapping[str, Any]
    measured: MeasuredDocument | None
    top1_pct: float | None
    top1_on: str
    tries: Count
    tables: tuple[TableUsed, ...]
    environment: Mapping[str, str]
    files: tuple[EngineFile, ...]
    percentile: int = 50
    top1_fp32_pct: float | None = None
    shortlist: tuple[Shortlisted, ...] = ()
    warnings: tuple[str, ...] = ()
    preprocessing: PreprocessingDocument | None = None
    class_names: ClassNames = ()
    batch_norm: str = ""
    trained: bool | UnsetType = UNSET
    status: str = ""
    verdict: Verdict | None = None
    checked: tuple[str, ...] = ()
    throughput: AboveZero | None = None
    precisions: tuple[str, ...] = ()
    precision_losses: tuple[PrecisionLoss, ...] = ()
    precision_gains: tuple[PrecisionGain, ...] = ()
    by_precision: tuple[BestInPrecision, ...] = ()


def upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """A manifest of version 1: interference was called the weather, reproducibility wander."""
    measured, environment = document.get("measured"), document.get("environment")
    changed = dict(document)
    if isinstance(environment, dict):
        changed["environment"] = {name: str(value) for name, value in environment.items()}
    if isinstance(measured, dict):
        names = {"weather": "interference", "wander_pct": "reproducibility_pct"}
        now = {names.get(name, name): value for name, value in measured.items()}
        if isinstance(rounds := now.get("interference"), list):
            now["interference"] = [renamed(one) for one in rounds]
        changed["measured"] = now
    return changed


_RANDOM = re.compile(r"random \(seed \d+\), not trained")

ENGINE = Format("ponas.engine", 2, ManifestDocument, (upgraded,))


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an engine folder; FileFormatError names the place of a fault."""
    path = folder / MANIFEST
    if not folder.is_dir() or not path.exists():
        reason = "there is no such file: name a folder that `ponas specialize` or `ponas export` wrote."
        raise FileFormatError(path, "", reason)
    raw = read_raw(path, ENGINE)
    found = raw.value(ManifestDocument)
    measured = raw.data["measured"] or {}
    refuse_unknown(measured.get("interference"), Round, path, "measured.interference")
    _check_space(path, found.space)
    _check_choices(path, found)
    _check_files(path, found)
    if found.percentile not in PERCENTILES:
        known = ", ".join(map(str, PERCENTILES))
        raise FileFormatError(path, "percentile", f"is {found.percentile}, expected one of {known}.")
    known_fields = {field.name: getattr(found, field.name) for field in fields(Manifest)}
    return Manifest(
        **{
            **known_fields,
            "budget": tuple(found.budget.items()),
            "predicted": tuple(found.predicted.items()),
            "environment": tuple(found.environment.items()),
            "measured": found.measured and _timing(found.measured),
            "preprocessing": found.preprocessing and _preprocessing(path, found.preprocessing, found.space),
            "trained": found.trained if found.trained is not UNSET else not _RANDOM.match(found.weights),
            "class_names": checked(found.class_names, found.space.classes, path),
        }
    )


def _preprocessing(path: Path, found: PreprocessingDocument, space: SpaceKey) -> Preprocessing:
    if found.crop_px not in (None, space.resolution):
        reason = f"is {found.crop_px}, but the network takes images of {space.resolution} px."
        raise FileFormatError(path, "preprocessing.crop_px", reason)
    return Preprocessing(found.mean, found.std, found.resize_px, found.channel_order)


def _timing(found: MeasuredDocument) -> EngineTiming:
    return EngineTiming(
        found.processes_ns,
        found.started_s,
        found.interference,
        found.reproducibility_pct,
        found.reference,
        found.memory,
        found.energy,
        found.no_energy,
        found.back_to_back,
    )


def _check_space(path: Path, key: SpaceKey) -> None:
    if not is_known(key.name):
        known = ", ".join(sorted(SPACES))
        raise FileFormatError(path, "space.name", f"is {in_words(key.name)}, known spaces are {known}.")
    here = fingerprint_of(key.name)
    if key.fingerprint != here:
        raise FileFormatError(
            path,
            "space.fingerprint",
            f"is {in_words(key.fingerprint)}, but space '{key.name}' has '{here}' here: the engine is of"
            f" another version of the space, export it again.",
        )


def _check_choices(path: Path, found: ManifestDocument) -> None:
    key = found.space
    try:
        Architecture(build_space(key.name, key.resolution, key.classes), found.choices)
    except PonasError as error:
        raise FileFormatError(path, "choices", f"do not fit the space: {error}") from error
    if found.precisions and found.precisions != precisions(found.choices):
        raise FileFormatError(path, "precisions", "are not those of the choices.")


def _check_files(path: Path, found: ManifestDocument) -> None:
    """Every file lies in the folder; the engine's and the portable network are among those compared."""
    names = [(f"files[{index}].name", file.name) for index, file in enumerate(found.files)]
    engine = [("engine_file", found.engine_file)] if found.engine_file else []
    for where, name in (*names, *engine):
        if not _is_plain(name):
            raise FileFormatError(path, where, f"is {in_words(name)}, expected a file of the engine folder.")
    listed = {name for _, name in names}
    if MODEL not in listed:
        raise FileFormatError(path, "files", f"does not list {MODEL}, the portable network.")
    if found.engine_file and found.engine_file not in listed:
        reason = f"is {in_words(found.engine_file)}, which 'files' does not list."
        raise FileFormatError(path, "engine_file", reason)


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and not set(name) & set("/\\:") and name.isprintable()


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest of an engine folder that has none yet."""
    write_json(folder / MANIFEST, ENGINE.tag, _document(manifest))


def _document(manifest: Manifest) -> Mapping[str, Any]:
    measured, written = manifest.measured, encoded(manifest)
    how = manifest.preprocessing
    del written["preprocessing"]
    files = written.pop("files")
    return {
        "status": manifest.status,
        **written,
        **({"precisions": list(manifest.precisions)} if manifest.precisions else {}),
        "budget": dict(manifest.budget),
        "predicted": dict(manifest.predicted),
        "environment": dict(manifest.environment),
        "verdict": manifest.verdict,
        "measured": measured and _measured(measured, manifest.percentile),
        "preprocessing": how and how.said(manifest.space.resolution),
        "files": files,
    }


def _measured(timing: EngineTiming, percentile: int) -> dict[str, Any]:
    return {
        **encoded(EngineFigures.of(timing, percentile)),
        "started_s": list(timing.started_s),
        "reproducibility_pct": timing.reproducibility_pct,
        "reference": timing.reference and encoded(timing.reference),
        "interference": [compact(one) for one in timing.interference],
        "memory": [encoded(one) for one in timing.memory],
        "energy": [encoded(one) for one in timing.energy],
        "processes_ns": [list(process) for process in timing.processes_ns],
    }
