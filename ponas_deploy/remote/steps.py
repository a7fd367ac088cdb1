"""What a worker on a board can be asked for, by name. Everything here runs on the board."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Dict

import numpy as np

from ponas_deploy.backends import Backend, RunSettings, Session, get_backend, registry
from ponas_deploy.backends.protocol import (
    CapturesGraphs,
    Launches,
    ReadsGpu,
    StartsProcesses,
    TellsGpuMemory,
    TimesLayers,
)
from ponas_deploy.backends.streams import loaded, opened
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.machines.conditions import read_conditions
from ponas_deploy.machines.machine import memory_mib, this_machine, threads_fault
from ponas_deploy.machines.nvidia import GpuReading
from ponas_deploy.measuring.build_process import build_in_process
from ponas_deploy.measuring.build_together import build_together, builders_for
from ponas_deploy.measuring.contention import ContentionProbe, probe_for, readings
from ponas_deploy.measuring.engine_process import Timed, take_in_fresh_process
from ponas_deploy.measuring.interference import Snapshot, take_snapshot
from ponas_deploy.measuring.interleaved_process import RoundsDone, TimedTogether, take_together
from ponas_deploy.measuring.machine_readings import read_machine
from ponas_deploy.measuring.protocol import (
    Plan,
    Samples,
    Visits,
    begin_visit,
    first_estimate,
    no_garbage_collection,
)
from ponas_deploy.remote.images import unpacked as unpacked_images
from ponas_deploy.remote.parcels import unpacked
from ponas_deploy.remote.runtimes import ask_runtimes
from ponas_deploy.remote.state import State

Write = Callable[[Dict[str, Any]], None]
Details = Dict[str, Any]

_SAMPLES_A_LINE, _LINE_S = 64, 2.0
_SAID_EVERY_S = 1.0


def about(state: State, details: Details, write: Write) -> Any:
    """The machine now, and the runtimes that are named."""
    machine = this_machine()
    return {
        "machine": list(machine.environment()),
        "name": machine.name,
        "cores": machine.cores,
        "conditions": list(read_conditions().conditions()),
        "available_mib": memory_mib("available"),
        "threads_fault": threads_fault(details["threads"]),
        "runtimes": ask_runtimes(details["backends"], state.folder),
    }


def uncaptured(state: State, details: Details, write: Write) -> Any:
    """Why models of a runtime that were loaded so far run without a CUDA graph."""
    backend = _backend(state, details["backend"])
    return list(backend.uncaptured) if isinstance(backend, CapturesGraphs) else []


def machine_readings(state: State, details: Details, write: Write) -> Any:
    """What can be read of the machine in a second."""
    return asdict(read_machine())


def look(state: State, details: Details, write: Write) -> Any:
    """The machine between two rounds."""
    return asdict(snapshot_of(state, details))


def gpu_memory(state: State, details: Details, write: Write) -> Any:
    """Bytes of a GPU's memory that are free for a runtime; none where it takes none or nothing tells."""
    backend = _backend(state, details["backend"])
    free = backend.free_gpu_bytes() if isinstance(backend, TellsGpuMemory) else None
    return [] if free is None else [free]


def open_models(state: State, details: Details, write: Write) -> Any:
    """Open sessions of models, by key, several at once on the processor; they stay open until `close`.

    A line for each that is built, then one for each of what its first runs showed.
    """
    backend, settings = _backend(state, details["backend"]), RunSettings(**details["settings"])
    sessions: dict[str, Session] = state.values.setdefault("sessions", {})

    def build(key: str, sha: str) -> Session:
        try:
            return loaded(backend, unpacked(state.blob(sha).read_bytes(), state.blob), settings)
        except BackendError as error:
            raise BackendError(backend.name, f"{key} was refused ({error})") from error

    def built(key: str, session: Session, seconds: float) -> None:
        sessions[key] = state.stack.enter_context(session)
        write({"built": key, "s": seconds})

    build_together(
        {key: partial(build, key, sha) for key, sha in details["models"]},
        builders_for(backend.name, one_at_a_time=details["one_at_a_time"]),
        lambda keys: write({"now": f"building {' and '.join(keys)}"}),
        built,
    )
    plan, probe = Plan(**details["plan"]), probe_of(state, details)
    write({"now": "running what was built for the first time"})
    for key, _ in details["models"]:
        session = sessions[key]

        def estimate(of: Session = session) -> tuple[int, float]:
            return first_estimate(of, plan)

        runs, run_ns = probe.take_quiet(estimate)[0] if probe else estimate()
        visit_s = session.visit_s if isinstance(session, StartsProcesses) else 0.0
        launch_ns = session.launch_ns if isinstance(session, Launches) else 0
        write({"first": key, "runs": runs, "ns": run_ns, "visit_s": visit_s, "launch_ns": launch_ns})
    return {}


def take_round(state: State, details: Details, write: Write) -> Any:
    """Take the samples of a round, in the order of `runs`; the machine before and after it."""
    sessions: dict[str, Session] = state.values.get("sessions", {})
    plan = Plan(**details["plan"])
    waiting: list[Any] = []
    sent_s = time.monotonic()

    def send() -> None:
        nonlocal sent_s
        if waiting:
            write({"samples": list(waiting)})
            waiting.clear()
            sent_s = time.monotonic()

    def add(key: str, number: int, runs: int, run_ns: float) -> None:
        waiting.append([key, run_ns])
        if len(waiting) == _SAMPLES_A_LINE or time.monotonic() - sent_s > _LINE_S:
            send()

    write({"now": f"measuring round {details['number']}"})
    probe = probe_of(state, details)
    visits = Visits(sessions, details["runs"], Samples(on_sample=add), details["sentinel"], plan, None, probe)
    before = snapshot_of(state, details)
    with no_garbage_collection():
        visits.round(
            list(details["runs"]), details["number"], plan, details["allowed_redos"], quiet=details["quiet"]
        )
    after = snapshot_of(state, details)
    send()
    return {"before": asdict(before), "after": asdict(after), "redone": visits.redone}


def close(state: State, details: Details, write: Write) -> Any:
    """Close sessions."""
    sessions: dict[str, Session] = state.values.get("sessions", {})
    for key in details["keys"]:
        if key in sessions:
            sessions.pop(key).close()
            shutil.rmtree(str(state.folder / key), ignore_errors=True)  # the files of an engine
    return {}


def build(state: State, details: Details, write: Write) -> Any:
    """Build an engine in a process of its own; its files are kept, the first one opens it."""
    with TemporaryDirectory(dir=state.folder) as name:
        folder = Path(name) / "engine"
        folder.mkdir()
        model = folder / "model.onnx"
        model.write_bytes(unpacked(state.blob(details["model"]).read_bytes(), state.blob))
        write({"now": f"building an engine with {details['backend']}"})
        first = build_in_process(
            model,
            details["backend"],
            RunSettings(**details["settings"]),
            None,
            Path(name),
            lambda progress: write({"progress": asdict(progress)}),
        )
        others = [path for path in sorted(folder.iterdir()) if path not in (first, model)]
        return [[path.name, state.keep(path)] for path in (first, *others)]


def take(state: State, details: Details, write: Write) -> Any:
    """Time an engine in a fresh process; the machine before and after it."""
    with TemporaryDirectory(dir=state.folder) as name:
        engine = _engine(state, details, Path(name))
        reference = None
        if details["reference"]:
            reference = Path(name) / "reference.onnx"
            reference.write_bytes(unpacked(state.blob(details["reference"]).read_bytes(), state.blob))
        empty = Path(name) / "empty"
        empty.mkdir()
        write({"now": f"timing an engine with {details['backend']}"})
        before = take_snapshot()
        settings = RunSettings(**details["settings"])
        timed = Timed(engine, details["backend"], settings, details["seconds"], details["core_ns"], reference)
        timed = replace(timed, back_to_back=details["back_to_back"], energy=details["energy"])
        taken = take_in_fresh_process(timed, empty)
        return {"taken": taken.document(), "before": asdict(before), "after": asdict(take_snapshot())}


def take_engines(state: State, details: Details, write: Write) -> Any:
    """Time engines in the same rounds in a fresh process; how far it is, a line from time to time."""
    with TemporaryDirectory(dir=state.folder) as name:
        engines, reference, said_s = {}, None, 0.0
        for number, (key, files) in enumerate(details["engines"]):
            folder = Path(name) / str(number)
            folder.mkdir()
            engines[key] = _engine(state, {"files": files}, folder)
        if details["reference"]:
            called, sha = details["reference"]
            reference = called, Path(name) / "reference.onnx"
            reference[1].write_bytes(unpacked(state.blob(sha).read_bytes(), state.blob))
        empty = Path(name) / "empty"
        empty.mkdir()

        def on_rounds(done: RoundsDone) -> None:
            nonlocal said_s
            if time.monotonic() - said_s > _SAID_EVERY_S:
                said_s = time.monotonic()
                write({"rounds": asdict(done)})

        write({"now": f"timing engines with {details['backend']}"})
        timed = TimedTogether(
            engines,
            details["backend"],
            RunSettings(**details["settings"]),
            Plan(**details["plan"]),
            details["seconds"],
            details["number"],
            details["core_ns"],
            reference,
        )
        return asdict(take_together(timed, empty, on_rounds))


def open_engine(state: State, details: Details, write: Write) -> Any:
    """Open a session of an engine or of a model, by key, to run images through it."""
    settings, backend = RunSettings(**details["settings"]), _backend(state, details["backend"])
    write({"now": f"opening an engine with {details['backend']}"})
    if details.get("model"):
        session = loaded(backend, unpacked(state.blob(details["model"]).read_bytes(), state.blob), settings)
    else:
        folder = state.folder / details["key"]
        folder.mkdir(exist_ok=True)
        state.stack.callback(shutil.rmtree, str(folder), ignore_errors=True)
        session = opened(backend, _engine(state, details, folder), settings)
    sessions: dict[str, Session] = state.values.setdefault("sessions", {})
    sessions[details["key"]] = state.stack.enter_context(session)
    return asdict(session.settings())


def run(state: State, details: Details, write: Write) -> Any:
    """Run images, a file of NumPy's, through a session that is open; the outputs, another such file."""
    session: Session = state.values["sessions"][details["key"]]
    images, size = unpacked_images(state.blob(details["file"])), details["batch"]
    write({"now": f"running {len(images)} images"})
    found = [session.run(images[place : place + size]) for place in range(0, len(images), size)]
    file = state.folder / "outputs.npy"
    np.save(str(file), np.concatenate(found))
    return state.keep(file)


def time_runs(state: State, details: Details, write: Write) -> Any:
    """Nanoseconds that so many runs of an open session took together, of a new visit if one begins."""
    session: Session = state.values["sessions"][details["key"]]
    if details["visit_begins"]:
        begin_visit(session)
    return session.time_ns(details["runs"])


def layers(state: State, details: Details, write: Write) -> Any:
    """Name and milliseconds of each layer of an engine that is open."""
    session: Session = state.values["sessions"][details["key"]]
    if not isinstance(session, TimesLayers):
        those = " or ".join(registry.layer_timing_backends())
        raise BackendError(details["backend"], f"does not time layers: {those} does.")
    return list(session.layer_times_ms())


STEPS: dict[str, Callable[[State, Details, Write], Any]] = {
    "about": about,
    "uncaptured": uncaptured,
    "readings": machine_readings,
    "look": look,
    "gpu_memory": gpu_memory,
    "open": open_models,
    "round": take_round,
    "close": close,
    "build": build,
    "take": take,
    "take_engines": take_engines,
    "open_engine": open_engine,
    "run": run,
    "time_runs": time_runs,
    "layers": layers,
}


def _backend(state: State, name: str) -> Backend:
    """A runtime, loaded once."""
    backends: dict[str, Backend] = state.values.setdefault("backends", {})
    if name not in backends:
        backends[name] = get_backend(name)
    return backends[name]


def probe_of(state: State, details: Details) -> ContentionProbe | None:
    """The contention probe of this job; another one when what is known of the core is another number."""
    threads = RunSettings(**details["settings"]).all_threads
    asked = (details["backend"], threads, details["known_ns"])
    if state.values.get("probe_for") != asked:
        state.values["probe_for"], state.values["probe"] = asked, probe_for(*asked)
    probe: ContentionProbe | None = state.values["probe"]
    return probe


def snapshot_of(state: State, details: Details) -> Snapshot:
    """The machine now, with what the runtime reads of a GPU and what the probe saw."""
    backend = _backend(state, details["backend"])
    read_gpu = backend.reading if isinstance(backend, ReadsGpu) else GpuReading
    return take_snapshot(read_gpu, readings(probe_of(state, details)))


def _engine(state: State, details: Details, folder: Path) -> Path:
    """The files of an engine under their names in a folder; the one that opens it."""
    paths: Sequence[Path] = [_copied(state, sha, folder / Path(name).name) for name, sha in details["files"]]
    if not paths:
        raise PonasError("an engine without a file was to be opened.")
    return paths[0]


def _copied(state: State, sha: str, to: Path) -> Path:
    shutil.copyfile(str(state.blob(sha)), str(to))
    return to
