"""Steps of `first.py` about the clock: the protocol against itself, against trtexec, in ONNX Runtime."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.gpu.first_task import MissingError, Task, backend_or_skip, samples_us, smallest_block
from ponas_deploy.backends import RunSettings, Session
from ponas_deploy.backends._trtexec_session import EngineInterface, TrtexecSession
from ponas_deploy.backends.onnx_interface import read_interface
from ponas_deploy.backends.tensorrt import TensorRtBackend
from ponas_deploy.backends.trtexec import TrtexecBackend
from ponas_deploy.profiling.models import block_model, blocks_of, network_bytes

RUNS = (1, 10, 100, 400, 1000)
_IDLE_S, _FIRST_S = 2.0, 3.0
_HOLD_NS = 20_000_000


def linearity(task: Task) -> None:
    """Microseconds a run by how many are timed together, the stream held and not, and by trtexec."""
    key, backend = smallest_block(task.space), TensorRtBackend()
    models = {
        "block": block_model(key, blocks_of(task.space)[key], 1),
        "network": network_bytes(task.network, 1),
    }

    def timed(text: str) -> dict[str, Any]:
        name, how, runs = text.split()
        through = backend if how != "trtexec" else backend_or_skip("trtexec")
        with through.load(models[name], RunSettings("fp16")) as session:
            if how == "trtexec":
                return {"us": samples_us(session, int(runs), 3)}
            return {"us": _clocked_us(session, int(runs), how == "held")}

    keys = [f"{n} {how} {runs}" for runs in RUNS for n in models for how in ("held", "free")]
    with suppress(MissingError):
        backend_or_skip("trtexec")
        keys += [f"{n} trtexec 20" for n in models]
    rows = task.each(keys, timed)
    said = [
        f"{name} held {_range(rows, f'{name} held')}, free {_range(rows, f'{name} free')}" for name in models
    ]
    task.finish(f"us a run: {'; '.join(said)}", rows, block=key)


def _clocked_us(session: Any, runs: int, held: bool) -> float:
    """A run by the session's own clock, whether the stream is held or not."""
    clock, launch = session._clock, session._launch
    return median(clock.time_ns(launch, runs, held=held) / runs for _ in range(5)) / 1e3


def _range(rows: list[dict[str, Any]], of: str) -> str:
    found = sorted(row["us"] for row in rows if row["key"].startswith(of) and "us" in row)
    return f"{found[0]:.1f} to {found[-1]:.1f}" if found else "nothing"


def clocks(task: Task) -> None:
    """What NVML says, and an engine's first seconds after a pause: time of a run beside the clock."""
    backend = TensorRtBackend()
    task.keep(environment=dict(backend.environment()), reading=dict(backend.reading().conditions()))
    with backend.load(network_bytes(task.network, 1), RunSettings("fp16")) as session:
        time.sleep(min(_IDLE_S, max(0.0, task.left_s / 4)))
        start, rows = time.monotonic(), list[dict[str, Any]]()
        while time.monotonic() - start < min(_FIRST_S, max(0.1, task.left_s)) and len(rows) < 2000:
            us = session.time_ns(10) / 1e4
            reading = backend.reading()
            at_s = round(time.monotonic() - start, 4)
            rows.append(
                {"at_s": at_s, "us": us, "sm_mhz": reading.sm_clock_mhz, "throttle": reading.throttle}
            )
    late = median(row["us"] for row in rows[-max(1, len(rows) // 4) :])
    seen = sorted({row["sm_mhz"] for row in rows if row["sm_mhz"] is not None})
    clocked = f"{seen[0]} to {seen[-1]} MHz" if seen else "no clock can be read"
    task.finish(f"first run {100 * (rows[0]['us'] / late - 1):+.0f} % of later ones, {clocked}", rows)


def against_trtexec(task: Task) -> None:
    """One engine file, timed by us and by trtexec."""
    trtexec = backend_or_skip("trtexec")
    assert isinstance(trtexec, TrtexecBackend)
    backend, model = TensorRtBackend(), network_bytes(task.network, 1)

    def timed(precision: str) -> dict[str, Any]:
        with TemporaryDirectory(dir=task.folder) as beside:
            engine = backend.save(model, RunSettings(precision), Path(beside))[0].resolve()
            with backend.open(engine, RunSettings(precision)) as session:
                ours = samples_us(session, 20, 9)
            with _through_trtexec(trtexec, engine, backend.fed_model(model, precision), precision) as session:
                theirs = samples_us(session, 20, 3)
        return {"tensorrt_us": ours, "trtexec_us": theirs}

    rows = task.each(("fp32", "fp16", "int8"), timed)
    ratios = [
        f"{row['key']} {row['trtexec_us'] / row['tensorrt_us']:.3f}" for row in rows if "trtexec_us" in row
    ]
    task.finish(f"trtexec over ours: {', '.join(ratios)}", rows)


def _through_trtexec(trtexec: TrtexecBackend, engine: Path, fed: bytes, precision: str) -> TrtexecSession:
    ends, program = read_interface("trtexec", fed), trtexec._program
    interface = EngineInterface(
        ends.input.name,
        ends.input.static_shape("trtexec", "input"),
        "float32" if precision in ("fp32", "tf32") else "float16",
        ends.output.static_shape("trtexec", "output"),
    )
    command = (program.path, f"--loadEngine={engine}")
    return TrtexecSession(command, program.flags("run"), interface, RunSettings(precision))


def onnxruntime(task: Task) -> None:
    """Whether a run of ONNX Runtime waits for the GPU though its stream is held, and the engine it writes."""
    model = network_bytes(task.network, 1)

    def looked_at(name: str) -> dict[str, Any]:
        backend = backend_or_skip(name)
        with backend.load(model, RunSettings("fp16")) as session:
            found = {
                "environment": dict(backend.environment()),
                "captured": getattr(session, "captured", None),
                "launch_us": getattr(session, "launch_ns", 0) / 1e3,
                "us": samples_us(session, 20),
                **_waits(session),
            }
        with TemporaryDirectory(dir=task.folder) as beside:
            written = backend.save(model, RunSettings("fp16"), Path(beside))
            found["files"] = {path.name: path.stat().st_size for path in written}
            backend.open(written[0], RunSettings("fp16")).close()
        return {**found, "uncaptured": getattr(backend, "uncaptured", ())}

    rows = task.each(("onnxruntime-cuda", "onnxruntime-tensorrt"), looked_at)
    if all("error" in row for row in rows):
        raise MissingError(str(rows[0]["error"])) if rows else TimeoutError("there was no time for it")
    said = [f"{row['key']} {'waits' if row['waits'] else 'does not wait'}" for row in rows if "waits" in row]
    task.finish(", ".join(said), rows)


def _waits(session: Session) -> dict[str, Any]:
    """One run enqueued behind a hold: whoever waits comes back after it."""
    cuda, enqueue = getattr(session, "_cuda", None), getattr(session, "_enqueue", None)
    if cuda is None or enqueue is None or not cuda.fills_queue:
        return {"waits": True, "enqueued_after_us": None}
    cuda.synchronize("failed before the hold")
    cuda.hold_stream(_HOLD_NS)
    start = time.perf_counter_ns()
    enqueue()
    taken = time.perf_counter_ns() - start
    cuda.synchronize("failed after the hold")
    return {"waits": taken > 0.9 * _HOLD_NS, "enqueued_after_us": taken / 1e3}
