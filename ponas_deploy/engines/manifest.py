"""The manifest of an engine folder: what the engine is, and the one reader and writer of it.

`manifest.json` (`ponas.engine/1`) names architecture, budget, predicted and measured latency, tables by
hash, environment, and SHA-256 and size of each file. The reader believes nothing that it can compare:
the space is known and still the same, the choices fit it, and what is opened is among the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ponas_deploy.backends import RunSettings
from ponas_deploy.engines.preprocessing import Preprocessing
from ponas_deploy.engines.timing import PERCENTILES, EngineTiming
from ponas_deploy.errors import PonasError
from ponas_deploy.files.documents import compact, converted
from ponas_deploy.files.records import Record, is_number, read_json, write_json
from ponas_deploy.tables import Conditions, SpaceKey
from ponas_deploy.tables.latency_upgrade import renamed
from ponas_deploy.tables.rounds import Round
from searchspace.architecture import Architecture
from searchspace.spaces import SPACES, build_space

FORMAT = "ponas.engine/1"
MODEL, MANIFEST = "model.onnx", "manifest.json"


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
    The latency budget is on the `percentile` of single inferences. `warnings` are what there was to say
    against the tables. `preprocessing` is how images become the network's input, where the weights say it.
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
    top1_on: str = ""
    tries: int = 0
    tables: tuple[TableUsed, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    shortlist: tuple[Shortlisted, ...] = ()
    warnings: tuple[str, ...] = ()
    files: tuple[EngineFile, ...] = field(default=())
    preprocessing: Preprocessing | None = None

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


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an engine folder; FileFormatError names the place of a fault."""
    record = read_json(folder / MANIFEST, FORMAT)
    space = _read_space(record.record("space"))
    files = tuple(map(_read_file, record.records("files")))
    return Manifest(
        space=space,
        choices=_read_choices(record, space),
        conditions=_read_conditions(record.record("conditions")),
        weights=record.text("weights"),
        created=record.text("created"),
        engine_file=_read_engine_file(record, {file.name for file in files}),
        budget=_read_numbers(record.record("budget")),
        percentile=_read_percentile(record) if "percentile" in record else 50,
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
        shortlist=tuple(map(_read_shortlisted, record.records("shortlist"))) if "shortlist" in record else (),
        warnings=record.texts("warnings") if "warnings" in record else (),
        files=files,
        preprocessing=_read_preprocessing(record) if "preprocessing" in record else None,
    )


def _read_preprocessing(record: Record) -> Preprocessing:
    try:
        return Preprocessing.from_document(record.record("preprocessing").data)
    except ValueError as error:
        raise record.error("preprocessing", f"is not what images go through: {error}.") from error


def _read_space(record: Record) -> SpaceKey:
    key = converted(record.data, SpaceKey, record.path, record.where)
    _check_positive(record, "resolution", "classes")
    if key.name not in SPACES:
        raise record.error("name", f"is '{key.name}', known spaces are {', '.join(sorted(SPACES))}.")
    known = build_space(key.name).fingerprint
    if key.fingerprint != known:
        raise record.error(
            "fingerprint",
            f"is '{key.fingerprint}', but space '{key.name}' has '{known}' here: the engine is of another"
            f" version of the space, export it anew.",
        )
    return key


def _read_choices(record: Record, space: SpaceKey) -> tuple[str, ...]:
    choices = record.texts("choices")
    try:
        Architecture(build_space(space.name, space.resolution, space.classes), choices)
    except PonasError as error:
        raise record.error("choices", f"do not fit the space: {error}") from error
    return choices


def _read_conditions(record: Record) -> Conditions:
    conditions = converted(record.data, Conditions, record.path, record.where)
    _check_positive(record, "threads", "batch")
    return conditions


def _read_file(record: Record) -> EngineFile:
    name = record.text("name")
    if not _is_plain(name):
        raise record.error("name", f"is '{name}', expected a file of the engine folder.")
    return EngineFile(name, record.text("sha256"), record.integer("bytes"))


def _read_shortlisted(record: Record) -> Shortlisted:
    return Shortlisted(
        record.texts("choices"),
        record.number("predicted_ms"),
        record.number("predicted_loss_pp"),
        record.number("validation_top1_pct"),
        record.data.get("chosen") is True,
    )


def _read_engine_file(record: Record, listed: set[str]) -> str:
    """The engine's file, which like the portable network must be among those that are compared."""
    name = record.text("engine_file")
    if name and not _is_plain(name):
        raise record.error("engine_file", f"is '{name}', expected a file of the engine folder.")
    if MODEL not in listed:
        raise record.error("files", f"does not list {MODEL}, the portable network.")
    if name and name not in listed:
        raise record.error("engine_file", f"is '{name}', which 'files' does not list.")
    return name


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and not set(name) & set("/\\:\0")


def _check_positive(record: Record, *keys: str) -> None:
    for key in keys:
        if record.integer(key) < 1:
            raise record.error(key, f"is {record.integer(key)}, expected 1 or more.")


def _read_numbers(record: Record) -> tuple[tuple[str, float], ...]:
    return tuple((name, record.number(name)) for name in record.data)


def _read_percentile(record: Record) -> int:
    found = record.integer("percentile")
    if found not in PERCENTILES:
        known = ", ".join(map(str, PERCENTILES))
        raise record.error("percentile", f"is {found}, expected one of {known}.")
    return found


def _read_timing(record: Record) -> EngineTiming:
    processes = record.data.get("processes_ns")
    if not isinstance(processes, list) or not processes:
        raise record.error("processes_ns", "holds no measured inferences.")
    started_s = record.numbers("started_s") if "started_s" in record else ()
    if started_s and len(started_s) != len(processes):
        raise record.error("started_s", f"holds {len(started_s)} times of {len(processes)} processes.")
    timed = tuple(_read_process(record, index) for index in range(len(processes)))
    listed = next((key for key in ("interference", "weather") if key in record), "")
    interference = tuple(map(_read_round, record.records(listed))) if listed else ()
    reproducibility_pct = record.number("wander_pct") if "wander_pct" in record else 0.0
    return EngineTiming(timed, started_s, interference, reproducibility_pct)


def _read_round(record: Record) -> Round:
    data = renamed(record.data)
    unknown = data.keys() - {field.name for field in fields(Round)}
    if unknown:
        raise record.error(min(unknown), "is nothing that is known of a round.")
    return converted(data, Round, record.path, record.where)


def _read_process(record: Record, index: int) -> tuple[int, ...]:
    where, process = f"processes_ns[{index}]", record.data["processes_ns"][index]
    if not isinstance(process, list) or not process:
        raise record.error(where, "holds no measured inferences.")
    wrong = [value for value in process if not _is_duration(value)]
    if wrong:
        raise record.error(where, f"holds {wrong[0]!r}, expected whole nanoseconds above zero.")
    return tuple(process)


def _is_duration(value: object) -> bool:
    return isinstance(value, int) and is_number(value) and value > 0


def measured_document(timing: EngineTiming, percentile: int = 50) -> dict[str, float]:
    """The figures of a measurement, as `--json` and the manifest print them; the floor of a percentile."""
    return {
        **{f"p{percent}_ms": timing.percentile_ms(percent) for percent in PERCENTILES},
        "noise_floor_pct": timing.noise_pct(percentile),
        "runs": timing.runs,
        "processes": len(timing.processes_ns),
        "span_s": timing.span_s,
        "shared_pct": timing.shared_pct,
    }


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest of an engine folder that has none yet."""
    write_json(folder / MANIFEST, FORMAT, _document(manifest))


def _document(manifest: Manifest) -> Mapping[str, Any]:
    measured = None
    if manifest.measured:
        processes = [list(process) for process in manifest.measured.processes_ns]
        measured = {
            **measured_document(manifest.measured, manifest.percentile),
            "started_s": list(manifest.measured.started_s),
            "wander_pct": manifest.measured.reproducibility_pct,
            "interference": [compact(one) for one in manifest.measured.interference],
            "processes_ns": processes,
        }
    return {
        "status": manifest.status,
        "space": manifest.space.document(),
        "choices": list(manifest.choices),
        "conditions": manifest.conditions.document(),
        "weights": manifest.weights,
        "created": manifest.created,
        "engine_file": manifest.engine_file,
        "budget": dict(manifest.budget),
        "percentile": manifest.percentile,
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
        "shortlist": [asdict(entry) for entry in manifest.shortlist],
        "warnings": list(manifest.warnings),
        "preprocessing": manifest.preprocessing.document() if manifest.preprocessing else None,
        "files": [{"name": f.name, "sha256": f.sha256, "bytes": f.bytes} for f in manifest.files],
    }
