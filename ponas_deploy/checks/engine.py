"""Whether an engine folder is what its manifest says: its files, its outputs, its latency measured again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np

from ponas_deploy.backends import RunSettings, TimesLayers, get_backend, registry
from ponas_deploy.checks.outputs import (
    TOLERANCE,
    Compared,
    Inputs,
    compared,
    input_shape,
    noise,
    outputs_of,
    scale_images,
)
from ponas_deploy.engines.manifest import MANIFEST, MODEL, EngineFile, Manifest
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.reference import Change, change
from ponas_deploy.engines.task import random_weights_warning
from ponas_deploy.engines.timing import EngineTiming, time_engine
from ponas_deploy.engines.verdict import CANNOT_BE_TOLD, MET, TELLING_NOISE_PCT, Verdict, judge, why_not_told
from ponas_deploy.errors import BackendError, FileFormatError, PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.records import sha256
from ponas_deploy.machines.machine import threads_fault
from ponas_deploy.measuring.place import Place
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.profiling.places import reached
from ponas_deploy.profiling.target import THIS_MACHINE, Target
from ponas_deploy.search.costs import BYTES, ENERGY, MEMORY
from ponas_deploy.tables import store
from searchspace.weights import network_parameters


@dataclass(frozen=True, slots=True)
class CheckedNow:
    """A limit besides latency, by its column: what the engine takes now, and what it may.

    `noise_pct` is how far two measurements of it lie apart.
    """

    name: str
    measured: float
    limit: float
    noise_pct: float = 0.0

    @property
    def keeps(self) -> bool:
        """Whether the limit is kept, within the noise."""
        return self.measured <= self.limit * (1 + self.noise_pct / 100)


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found; None is what was not run, because a check before it failed or there is no engine.

    `manifest` is that of the folder. `architecture_agrees`: the portable network has the shapes of its
    architecture. `portable_answers`: in ONNX Runtime it gives (batch, classes) finite outputs. `difference`
    is that of the engine's outputs from them, relative to the largest: the worst of what was `compared`;
    `images_missing` says why images of its INT8 scales were not. `timing` is the engine measured now.
    `unreached` says why neither was done, where the engine is of a device that is not reached.
    """

    manifest: Manifest
    changed_files: tuple[str, ...] = ()
    architecture_agrees: bool | None = None
    portable_answers: bool | None = None
    difference: float | None = None
    timing: EngineTiming | None = None
    unreached: str = ""
    compared: tuple[Compared, ...] = ()
    images_missing: str = ""

    @property
    def tolerance(self) -> float:
        """The largest difference of the outputs that the engine's precision explains."""
        return TOLERANCE.get(self.manifest.conditions.precision, TOLERANCE["fp32"])

    @property
    def budget_ms(self) -> float | None:
        """The latency budget that the engine was made for, None without one."""
        return self.manifest.budget_ms

    @property
    def percentile(self) -> int:
        """The percentile of single inferences that the budget is on."""
        return self.manifest.percentile

    @property
    def outputs_agree(self) -> bool:
        """Whether the engine computes what ONNX Runtime computes from the portable model."""
        return self.difference is None or self.difference <= self.tolerance

    @property
    def noise_pct(self) -> float:
        """The noise floor: that printed with the engine or that of this measurement, whichever is larger.

        That of the engine counts while something could be told at it: a larger one is of a machine that was
        disturbed then, and allows nothing now.
        """
        measured = self.manifest.measured
        then_pct = measured.noise_pct(self.percentile) if measured else 0.0
        if self.timing is None:
            return then_pct
        now_pct = self.timing.noise_pct(self.percentile)
        return now_pct if then_pct > TELLING_NOISE_PCT else max(now_pct, then_pct)

    @property
    def verdict(self) -> Verdict | None:
        """Whether the percentile measured now meets the budget; None without a budget or a measurement."""
        if self.timing is None:
            return None
        return judge(self.timing.percentile_ms(self.percentile), self.budget_ms, self.noise_pct)

    @property
    def checked(self) -> tuple[CheckedNow, ...]:
        """The limits that were checked when it was emitted, with what the engine takes now."""
        now, then, budget = self.timing, self.manifest.measured, dict(self.manifest.budget)
        found = []
        for name in self.manifest.checked:
            if name == BYTES.name and not self.changed_files:
                found.append(CheckedNow(name, self.manifest.engine_bytes, budget[name]))
            if name == MEMORY.name and now and now.most_memory:
                noise_pct = max(one.memory_noise_pct for one in (now, then or now))
                found.append(CheckedNow(name, now.most_memory.engine_bytes, budget[name], noise_pct))
            if name == ENERGY.name and now and now.middle_energy:
                noise_pct = max(one.energy_noise_pct for one in (now, then or now))
                found.append(CheckedNow(name, now.middle_energy.mj, budget[name], noise_pct))
        return tuple(found)

    @property
    def meets_budget(self) -> bool:
        """Whether the budget is met, or there is none to meet; False too where that cannot be told."""
        return not self.unreached and self.verdict in (MET, None)

    @property
    def change(self) -> Change | None:
        """What changed since the engine was emitted, machine or engine; None where nothing says it."""
        then, now = self.manifest.measured, self.timing
        if then is None or now is None:
            return None
        factor = now.percentile_ms(self.percentile) / then.percentile_ms(self.percentile)
        return change(then.reference, now.reference, factor)

    @property
    def holds_otherwise(self) -> bool:
        """Whether everything but the latency holds, other limits among it."""
        portable = self.architecture_agrees is not False and self.portable_answers is not False
        keeps = all(one.keeps for one in self.checked)
        return not self.changed_files and portable and self.outputs_agree and keeps

    @property
    def passed(self) -> bool:
        """Whether everything holds."""
        return self.holds_otherwise and self.meets_budget

    @property
    def cannot_be_told(self) -> bool:
        """Whether everything that could be checked holds, and of the rest nothing can be told."""
        return self.holds_otherwise and (bool(self.unreached) or self.verdict == CANNOT_BE_TOLD)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Random weights, why it was not run, what disturbed it, why that tells nothing, what is slower."""
        timing, said = self.timing, list[str]()
        if not self.manifest.trained:
            said.append(random_weights_warning(measured=bool(timing or self.manifest.measured)))
        said += [text for text in (self.unreached, self.images_missing) if text]
        if timing is None:
            return tuple(said)
        device = self.manifest.conditions.device
        if disturbed := timing.disturbed_on(device):
            said.append(disturbed)
        if self.verdict == CANNOT_BE_TOLD and self.budget_ms is not None:
            measured_ms = timing.percentile_ms(self.percentile)
            said.append(why_not_told(measured_ms, self.budget_ms, self.noise_pct, device))
        if self.change and self.change.text:
            said.append(self.change.text)
        return tuple(said)


def verify(folder: Path | str, on_note: OnNote = no_note, *, here: bool = False) -> Verification:
    """Check an engine `folder`, and measure the engine again, in milliseconds.

    The files are compared with the manifest, the portable network with the architecture, the engine's
    outputs with the portable network's. An engine that does not plainly meet its budget is timed once more,
    some seconds later: both measurements count as one, or the later one alone where only that can tell.
    An engine of a board of the device book is run and timed there, over its link; `on_note` is called with
    lines about that. One of a device that is neither this machine nor in the book is not run, and nothing is
    told of it, unless it shall be run `here`. FileFormatError for a manifest that hides an engine of its
    folder, PonasError for one of more threads than this process may use, MeasurementError when somebody else
    is measuring, BackendError without the engine's runtime.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    _refuse_hidden_engine(folder, manifest)
    target, settings = _target_of(manifest, here=here), manifest.settings
    if target.local and manifest.engine_file and (fault := threads_fault(settings.all_threads)):
        raise PonasError(f"{folder} cannot be verified here: {fault}")
    changed = tuple(file.name for file in manifest.files if not _intact(folder / file.name, file))
    found = Verification(manifest, changed)
    if changed:
        return found
    model = (folder / MODEL).read_bytes()
    found = replace(found, architecture_agrees=_is_network(model, manifest))
    if not found.architecture_agrees:
        return found
    given, missing = _inputs(manifest)
    with get_backend(registry.reference_backend()).load(model, RunSettings()) as session:
        expected = [outputs_of(session, inputs) for inputs in given]
    shape = _output_shape(manifest)
    answers = all(one.shape == shape and bool(np.isfinite(one).all()) for each in expected for one in each)
    found = replace(found, portable_answers=answers, images_missing=missing)
    if not answers or not manifest.engine_file:
        return found
    if not target.is_known:
        return replace(found, unreached=_not_run(target, manifest))
    engine, what = folder / manifest.engine_file, f"verification of {folder}"
    target = replace(target, threads=settings.threads, streams=settings.streams)
    with reached(target, what, on_note) as place:
        with place.backend(manifest.conditions.backend).open(engine, manifest.settings) as session:
            pairs = [(inputs, outputs_of(session, inputs)) for inputs in given]
        precision = manifest.conditions.precision
        all_compared = tuple(
            compared(*pair, wanted, precision) for pair, wanted in zip(pairs, expected, strict=True)
        )
        worst = max(one.difference for one in all_compared)
        found = replace(found, difference=worst, compared=all_compared)
        with place.to_oneself(store.lock_path(), what):
            return _timed(engine, found, place)


def _inputs(manifest: Manifest) -> tuple[tuple[Inputs, ...], str]:
    """What the outputs are compared on, and why images of its scales are not among it."""
    try:
        images = scale_images(manifest)
    except PonasError as error:
        reason = f"outputs were compared on noise alone, without images of the INT8 scales: {error}"
        return (noise(manifest),), reason
    return (noise(manifest), *([images] if images else [])), ""


def _target_of(manifest: Manifest, *, here: bool) -> Target:
    """The device that an engine was built on, or this machine where it shall be run `here`."""
    return Target(THIS_MACHINE if here else manifest.conditions.device, manifest.conditions.backend)


def _not_run(target: Target, manifest: Manifest) -> str:
    if manifest.compute_capability:
        return (
            "the engine was not run, so that nothing is told of its outputs and its latency: it is for any"
            f" GPU of compute capability {manifest.compute_capability}, and `ponas verify --here` runs it on"
            f" a machine with one. `{manifest.export_there}` there makes an engine that is measured."
        )
    return (
        "the engine was not run, so that nothing is told of its outputs and its latency:"
        f" {target.unreachable} If it was renamed, give it that name as an alias there;"
        " `ponas verify --here` runs the engine on this machine."
    )


def _timed(engine: Path, found: Verification, place: Place) -> Verification:
    """With the latency of the engine, measured twice where the first time does not meet the budget."""
    manifest = found.manifest
    backend, known = manifest.conditions.backend, manifest.measured
    core_ns = known.core_ns if known else 0.0
    timed = partial(time_engine, engine, backend, manifest.settings, place=place)
    timed = partial(timed, back_to_back=known is not None and known.back_to_back)
    timing = timed(core_ns, energy=True)
    found = replace(found, timing=timing)
    if found.meets_budget:
        return found  # what other limits are on is no matter of the moment
    sleep(RETRIES.later_s)
    later = timed(timing.core_ns)
    alone = replace(found, timing=later)
    if found.verdict == CANNOT_BE_TOLD and alone.verdict != CANNOT_BE_TOLD:
        return alone  # what was disturbed the first time says nothing of the engine
    return replace(found, timing=timing.with_later(later))


def layer_times_ms(folder: Path, *, here: bool = False) -> tuple[tuple[str, float], ...]:
    """Name and milliseconds of each layer of the engine in a folder, from runs of their own.

    BackendError where its runtime does not time layers, or there is no engine; PonasError where its device
    cannot be reached, unless it shall be run `here`.
    """
    manifest = read_manifest(folder)
    name = manifest.conditions.backend
    if not manifest.engine_file:
        raise BackendError(name, f"{folder} holds no engine: build it on its device first.")
    with (
        reached(_target_of(manifest, here=here), f"layers of {folder}") as place,
        place.backend(name).open(folder / manifest.engine_file, manifest.settings) as session,
    ):
        if not isinstance(session, TimesLayers):
            those = " or ".join(registry.layer_timing_backends())
            raise BackendError(name, f"does not time layers: {those} does.")
        return session.layer_times_ms()


def _refuse_hidden_engine(folder: Path, manifest: Manifest) -> None:
    """An engine that the manifest does not name would go unchecked and unmeasured."""
    listed = {file.name for file in manifest.files}
    here = {path.name for path in folder.glob("engine.*")}
    if here - listed:
        name = min(here - listed)
        raise FileFormatError(folder / MANIFEST, "files", f"does not list {name}, which is in the folder.")
    if manifest.engine_file:
        return
    if listed - {MODEL} or manifest.measured:
        there = ", ".join(sorted(listed - {MODEL})) or "'measured'"
        raise FileFormatError(
            folder / MANIFEST, "engine_file", f"is empty, but there is {there}: name the file that opens it."
        )


def _intact(path: Path, file: EngineFile) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes and sha256(path) == file.sha256


def _output_shape(manifest: Manifest) -> tuple[int, ...]:
    return (manifest.conditions.batch, manifest.space.classes)


def _is_network(model: bytes, manifest: Manifest) -> bool:
    """Whether an ONNX model has the input, the output and, in order, the weights of the architecture.

    Kernel size, expansion and squeeze-and-excite of every layer show in the shapes of its weights.
    """
    import onnx

    try:
        graph = onnx.load_model_from_string(model).graph
    except Exception:  # protobuf's DecodeError has no public home
        return False
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    weights = [
        shapes.get(node.input[1]) if len(node.input) > 1 else None
        for node in graph.node
        if node.op_type in ("Conv", "Gemm")
    ]
    wanted = [p.shape for p in network_parameters(manifest.architecture) if p.role == "weight"]
    ends = [_sizes(value) for value in (*graph.input, *graph.output)]
    return weights == wanted and ends == [input_shape(manifest), _output_shape(manifest)]


def _sizes(value: Any) -> tuple[int, ...]:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
