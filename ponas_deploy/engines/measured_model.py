"""The latency of a model that one already has, by the protocol of engines, beside networks of the space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import UNSET, UnsetType

from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.engines.building import build_model, run_settings
from ponas_deploy.engines.documents import MeasuredFigures, measured_figures
from ponas_deploy.engines.onnx_files import FixedModel, fixed_model
from ponas_deploy.engines.timing import PROCESSES, EngineTiming, time_engine
from ponas_deploy.errors import PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.records import sha256
from ponas_deploy.files.scratch import Scratch
from ponas_deploy.measuring.engine_process import SECONDS
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.profiling import serving_tables
from ponas_deploy.profiling.places import conditions_at, for_engines, reached
from ponas_deploy.profiling.target import THIS_MACHINE, Target
from ponas_deploy.search.pareto import FrontPoint, pareto_front
from ponas_deploy.tables import store
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.spaces import space_of
from ponas_deploy.tables.store import StoredTable


@dataclass(frozen=True, slots=True)
class NetworkBeside:
    """What a stored latency table of the same conditions has beside a measured model.

    `within` is the network of its front of least loss that is predicted to take no longer, None where the
    model is faster than all (`fastest_ms`); its predicted top-1, and what that is of, are absent where the
    accuracy table only ranks. What takes longer than `slowest_ms` loses no less. Latencies are in ms,
    `resolution_px` is the side of the networks' input, which need not be the model's.
    """

    table: str
    accuracy_table: str
    resolution_px: int
    fastest_ms: float
    slowest_ms: float
    within: FrontPoint | None
    predicted_top1_pct: float | UnsetType = UNSET
    predicted_top1_of: str | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class ModelTiming:
    """A model timed in one runtime and precision, and what networks of spaces take there."""

    conditions: Conditions
    timing: EngineTiming
    beside: tuple[NetworkBeside, ...]

    @property
    def disturbed(self) -> str:
        """What disturbed the measurement, in a sentence; empty where nothing did."""
        return self.timing.disturbed_on(self.conditions.device)


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """An ONNX model that was timed: its file, its inputs in words, one timing a runtime.

    `sha256` is that of the file; weights that lie beside it have no part in it.
    """

    path: Path
    sha256: str
    inputs: tuple[str, ...]
    timings: tuple[ModelTiming, ...]


def measure_model(
    model: Path | str,
    target: Target | None = None,
    *,
    sizes: Mapping[str, int] | None = None,
    batch: int | None = None,
    seconds: float = PROCESSES * SECONDS,
    throughput: bool = False,
    on_note: OnNote = no_note,
    on_build: OnBuildProgress | None = None,
) -> MeasuredModel:
    """Measure the latency of any ONNX model, in fresh processes as engines are measured.

    Args:
        model: an ONNX file; weights may lie beside it.
        target: this machine or a board with runtimes, precisions and threads; None for every runtime of this
            machine's processor at its first precision, with one thread.
        sizes: sizes that the model's inputs leave open, by their names or by `input:axis`.
        batch: the first size of the inputs where it is open; None for 1, or for that of the model.
        seconds: how long single inferences are timed in a runtime, in all its processes together; starting
            them and building come on top.
        throughput: time inferences one right after another, for images per second.
        on_note, on_build: called with lines for people, and with how far a build is.

    Returns: percentiles of single inferences in milliseconds with their noise, and beside each the network
    of a space's front that takes as long, where a table of this machine serves.

    Raises: FileFormatError for what is no ONNX model, PonasError for sizes that stay open or a target that
    cannot be reached, UnknownNameError for a runtime or precision that is not here, BackendError when a
    runtime refuses the model or fails, MeasurementError when somebody else is measuring.
    """
    path, asked = Path(model), target or Target(THIS_MACHINE)
    fixed = fixed_model(path, sizes or {}, batch)
    known = Target(
        asked.device, asked.backends, asked.precisions, asked.threads, fixed.batch, streams=asked.streams
    )
    timings = []
    with reached(asked, path.name, on_note) as place:
        for conditions in conditions_at(place, for_engines(place, known, on_note)):
            on_note(f"building {path.name} for {conditions.text}, then timing in fresh processes ...")
            each_s = seconds / PROCESSES
            timing = _timed(fixed, path.name, conditions, each_s, throughput, on_build, place)
            beside = _beside(conditions, timing.percentile_ms(50)) if place is HERE else ()
            timings.append(ModelTiming(conditions, timing, beside))
            if disturbed := timings[-1].disturbed:
                on_note(disturbed)
    return MeasuredModel(path, sha256(path), fixed.inputs, tuple(timings))


def _timed(
    model: FixedModel,
    name: str,
    conditions: Conditions,
    each_s: float,
    throughput: bool,
    on_build: OnBuildProgress | None,
    place: Place,
) -> EngineTiming:
    settings = run_settings(conditions)
    with Scratch() as folder:
        engine = build_model(model.data, conditions, Path(folder), on_build, place)
        with place.to_oneself(store.lock_path(), name):
            return time_engine(
                engine,
                conditions.backend,
                settings,
                seconds=each_s,
                place=place,
                back_to_back=throughput,
                energy=True,
            )


def _beside(conditions: Conditions, measured_ms: float) -> tuple[NetworkBeside, ...]:
    found = (_of_table(stored, measured_ms) for stored in serving_tables.of_conditions(conditions))
    return tuple(one for one in found if one is not None)


def _of_table(stored: StoredTable, measured_ms: float) -> NetworkBeside | None:
    """The network of a table's front that is as fast; None where the space has no accuracy table."""
    space = space_of(stored.table)
    if space is None:
        return None
    try:
        accuracy = store.own_accuracy_table(space.name)
        losses = accuracy.table.brought_to(space.resolution)
        points = pareto_front(stored.table, losses).points
    except PonasError:
        return None
    within = [point for point in points if point.latency_ms <= measured_ms]
    top1 = losses.predicted_top1(within[-1].loss_pp) if within else None
    return NetworkBeside(
        stored.name,
        accuracy.path.stem,
        space.resolution,
        points[0].latency_ms,
        points[-1].latency_ms,
        within[-1] if within else None,
        predicted_top1_pct=top1.pct if top1 else UNSET,
        predicted_top1_of=top1.of if top1 else UNSET,
    )


@dataclass(frozen=True, slots=True)
class ModelTimingDocument:
    """See `ModelTiming`."""

    device: Conditions
    measured: MeasuredFigures
    disturbed: str
    beside: tuple[NetworkBeside, ...]


@dataclass(frozen=True, slots=True)
class MeasuredModelDocument:
    """What `ponas measure --json` prints."""

    model: str
    sha256: str
    inputs: tuple[str, ...]
    timings: tuple[ModelTimingDocument, ...]


def measured_model_document(found: MeasuredModel) -> MeasuredModelDocument:
    """A measured model as `ponas measure --json` prints it."""
    timings = (
        ModelTimingDocument(
            one.conditions, measured_figures(one.timing, 50, one.conditions), one.disturbed, one.beside
        )
        for one in found.timings
    )
    return MeasuredModelDocument(str(found.path), found.sha256, found.inputs, tuple(timings))
