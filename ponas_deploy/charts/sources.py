"""What a report is made of, in words: tables and an engine, with device, versions, dates and certificates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ponas_deploy.charts.chart import number
from ponas_deploy.engines.engine import Engine
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_quality import accuracy_findings
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.quality import quality_findings
from ponas_deploy.tables.store import StoredAccuracy, StoredTable

NOT_SAID = "not said by the file"


@dataclass(frozen=True, slots=True)
class Source:
    """A table or an engine: facts by their names, and marks of what it is not (measured, trained)."""

    kind: str
    name: str
    facts: tuple[tuple[str, str], ...]
    marks: tuple[str, ...] = ()


def latency_source(name: str, stored: StoredTable) -> Source:
    """A latency table."""
    table, known = stored.table, stored.table.conditions
    environment = dict(table.environment)
    facts = {
        "device": known.device if known else NOT_SAID,
        "runtime": _runtime(table),
        "threads, batch": f"{known.threads}, {known.batch}" if known else NOT_SAID,
        "search space": _space(table),
        "processor": environment.get("processor", ""),
        "power mode": table.power_mode,
        "made": _date(table.created),
        "certificate": _certificate(table),
        "file": stored.path.name,
    }
    marks = (table.estimated, *(one.message for one in quality_findings(table) if one.severity == "error"))
    return Source("latency table", name, _given(facts), tuple(filter(None, marks)))


def _runtime(table: LatencyTable) -> str:
    known, environment = table.conditions, dict(table.environment)
    if known is None:
        return NOT_SAID
    said = environment.get("runtime") or environment.get(known.backend, "")
    version = said.removeprefix(known.backend).strip()
    return " ".join(filter(None, (known.backend, version, known.precision)))


def _space(table: LatencyTable | AccuracyTable) -> str:
    key = table.space
    return f"{key.name}, {key.resolution} px, {key.classes} classes" if key else NOT_SAID


def _certificate(table: LatencyTable) -> str:
    proof = table.certificate
    if proof is None:
        fit = table.protocol.fit
        if fit is None:
            return "none: nobody checked how well it predicts a whole network"
        return (
            f"fitted to {fit.networks} rows of {fit.file}: held-out error {fit.mean_error_pct:.1f} %,"
            f" rank correlation {fit.tau:.2f}"
        )
    return (
        f"mean error {proof.mean_error_pct:.1f} %, worst {proof.worst_error_pct:.1f} % on"
        f" {len(proof.networks)} networks (noise floor {proof.noise_floor_pct:.1f} %), rank correlation"
        f" {proof.kendall_tau:.2f}"
    )


def accuracy_source(name: str, stored: StoredAccuracy) -> Source:
    """An accuracy table."""
    table = stored.table
    origin, proof, scale = table.origin, table.certificate, table.predicted_top1(table.moved_pp)
    facts = {
        "made on": origin.text if origin else NOT_SAID,
        "weights": origin.weights if origin else "",
        "search space": _space(table),
        "predicts": f"top-1 of {scale.of}" if scale else "losses only, no top-1",
        "made": _date(table.created),
        "certificate": f"rank correlation {proof.text}" if proof else "none: nobody checked how it ranks",
        "file": stored.path.name,
    }
    marks = tuple(one.message for one in accuracy_findings(table) if one.severity == "error")
    return Source("accuracy table", name, _given(facts), marks)


def engine_source(engine: Engine) -> Source:
    """An engine folder, by its manifest."""
    manifest, figures = engine.manifest, engine.measured
    versions = dict(manifest.environment)
    budget = ", ".join(f"{name} {number(value)}" for name, value in engine.budget.items())
    measured = (
        f"p50 {number(figures.p50_ms)} ms, p95 {number(figures.p95_ms)} ms, noise floor"
        f" {figures.noise_floor_pct:.1f} %, {figures.runs} inferences"
        if figures
        else "not measured"
    )
    facts = {
        "device": engine.conditions.text,
        "runtime": versions.get("runtime", engine.conditions.backend),
        "search space": f"{manifest.space.name}, {manifest.space.resolution} px",
        "network": ",".join(manifest.choices),
        "budget": budget or "none",
        "measured": measured,
        "verdict": manifest.verdict or "",
        "weights": manifest.weights,
        "top-1": f"{engine.top1_pct:.2f} % on {manifest.top1_on}" if engine.top1_pct is not None else "",
        "made": _date(manifest.created),
    }
    marks = () if manifest.trained else ("random weights: its latency is real, its answers are not",)
    unmeasured = () if figures else ("not measured",)
    return Source("engine", engine.folder.resolve().name, _given(facts), (*marks, *unmeasured))


def _date(created: str) -> str:
    """A date of ISO 8601 to the minute; any other as it stands there."""
    try:
        found = datetime.fromisoformat(created)
    except ValueError:
        return created or NOT_SAID
    known = f"{found:%Y-%m-%d}" if len(created) == len("2025-01-01") else f"{found:%Y-%m-%d %H:%M}"
    zone = found.tzname()
    return f"{known} {zone}" if zone else known


def _given(facts: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in facts.items() if value)
