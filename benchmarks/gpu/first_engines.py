"""Steps of `first.py` about engines: what is captured, computed, fused, held in memory, built twice."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.first_task import Task, random_networks, samples_us
from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.onnxruntime_sessions import compiled, import_onnxruntime, session_options
from ponas_deploy.backends.progress import BuildProgress
from ponas_deploy.backends.tensorrt import TensorRtBackend
from ponas_deploy.errors import BackendError
from ponas_deploy.profiling.models import block_model, blocks_of, network_bytes
from searchspace import Architecture
from searchspace.graph import network_model
from searchspace.weights import random_weights

NETWORKS = 8


def capture(task: Task) -> None:
    """Build and capture every block in every precision, and some networks: fp16 first, then mixed."""
    space, backend = task.space, TensorRtBackend()
    blocks, networks = blocks_of(space), {net.text: net for net in random_networks(space, NETWORKS)}
    keys = [f"{precision} {key}" for precision in backend.precisions() for key in (*blocks, *networks)]
    random.Random(0).shuffle(keys)
    keys.sort(key=lambda text: not text.startswith("fp16 "))  # what a later step profiles

    def built(text: str) -> dict[str, Any]:
        precision, _, key = text.partition(" ")
        model = block_model(key, blocks[key], 1) if key in blocks else network_bytes(networks[key], 1)
        start, refused = time.monotonic(), len(backend.uncaptured)
        with backend.load(model, RunSettings(precision)) as session:
            taken = round(time.monotonic() - start, 3)
            captured = {"captured": session.captured, "launch_us": session.launch_ns / 1e3}
        return {"build_s": taken, **captured, "reasons": backend.uncaptured[refused:]}

    rows = task.each(keys, built)
    captured = sum(row.get("captured", False) for row in rows)
    task.finish(f"{captured} of {len(rows)} models captured", rows)


def numbers(task: Task) -> None:
    """Outputs of engines against ONNX Runtime: on the model that TensorRT is given, and on fp32's."""
    backend = TensorRtBackend()
    networks = {"published": task.network, "squeeze-and-excite": _most_squeezed(task)}
    shape = (1, 3, task.resolution, task.resolution)
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    @cache
    def portable(name: str) -> tuple[bytes, Any]:
        architecture = networks[name]
        made = network_model(architecture, random_weights(architecture), 1).SerializeToString()
        return made, _computed(made, images)

    def compared(text: str) -> dict[str, Any]:
        name, precision = text.split()
        made, in_fp32 = portable(name)
        with backend.load(made, RunSettings(precision)) as session:
            found = session.run(images)
        given = _computed(backend.fed_model(made, precision), images)
        return {
            "from_given_model_pct": _difference_pct(found, given),
            "from_fp32_pct": _difference_pct(found, in_fp32),
            "same_class": bool(found.argmax() == given.argmax()),
        }

    rows = task.each([f"{n} {p}" for n in networks for p in backend.precisions()], compared)
    worst = max((row["from_given_model_pct"] for row in rows if "error" not in row), default=float("nan"))
    task.finish(f"at most {worst:.2g} % from the model given", rows)


def _most_squeezed(task: Task) -> Architecture:
    """The network with squeeze-and-excite wherever there is one, as large as can be."""
    labels = [max(layer.labels, key=lambda label: ("se" in label, label)) for layer in task.space.layers]
    return Architecture(task.space, tuple(labels))


def _computed(model: bytes, images: Any) -> Any:
    """By ONNX Runtime on the CPU, as everywhere: exact for models in INT8 too."""
    runtime = import_onnxruntime("onnxruntime")
    session = compiled(runtime, model, session_options(runtime, RunSettings()))
    source = session.get_inputs()[0]
    half = source.type == "tensor(float16)"
    [found] = session.run(None, {source.name: images.astype(np.float16) if half else images})
    return found.astype(np.float32)


def _difference_pct(found: Any, expected: Any) -> float:
    return float(100 * np.abs(found - expected).max() / np.abs(expected).max())


def layers(task: Task) -> None:
    """The layers of one network in int8 and fp16 with their times, and what the whole of each takes."""
    backend, model = TensorRtBackend(), network_bytes(task.network, 1)

    def listed(precision: str) -> dict[str, Any]:
        with backend.load(model, RunSettings(precision)) as session:
            us, found = samples_us(session, 20), session.layer_times_ms()
        named = [name for name, _ in found if "reformat" in name.lower()]
        return {"us": us, "layers": found, "reformats": len(named)}

    rows = task.each([p for p in ("fp16", "int8") if p in backend.precisions()], listed)
    said = [f"{row['key']} {row['us']:.1f} us, {row['reformats']} reformats" for row in rows if "us" in row]
    task.finish("; ".join(said), rows)


def memory(task: Task) -> None:
    """Memory of the GPU that sessions hold, by batch: six blocks, two networks."""
    backend, space = TensorRtBackend(), task.space
    cuda, blocks = backend._shared.cuda, blocks_of(space)
    some = list(blocks)[:: max(1, len(blocks) // 6)][:6]

    def held(text: str) -> dict[str, Any]:
        batch = int(text.removeprefix("batch "))
        models = {key: block_model(key, blocks[key], batch) for key in some}
        models |= {net.text: network_bytes(net, batch) for net in random_networks(space, 2)}
        free, found = [_free_mib(cuda)], dict[str, float]()
        with ExitStack() as stack:
            for name, model in models.items():
                stack.enter_context(backend.load(model, RunSettings("fp16")))
                free.append(_free_mib(cuda))
                found[name] = round(free[-2] - free[-1], 2)
        return {"mib": found, "free_before_mib": free[0], "free_after_close_mib": _free_mib(cuda)}

    rows = task.each([f"batch {batch}" for batch in (1, 8, 32)], held)
    said = [f"{row['key']}: {max(row['mib'].values()):.0f} MiB" for row in rows if "mib" in row]
    task.finish(f"most of a session, {', '.join(said)}", rows)


def _free_mib(cuda: Any) -> float:
    return float(cuda.call("the memory cannot be read", cuda.api.cudaMemGetInfo)) / 2**20


def builds(task: Task) -> None:
    """One build from nothing: its time and progress, its interruption, and with next to no workspace."""
    model, told = network_bytes(task.network, 1), list[tuple[float, str]]()

    def watched(key: str) -> dict[str, Any]:
        start = time.monotonic()

        def progress(state: BuildProgress) -> None:
            told.append((round(time.monotonic() - start, 2), state.text))
            if key == "interrupted":
                raise KeyboardInterrupt

        told.clear()
        outcome, mib = "built", 1 if key == "1 MiB of workspace" else 1024
        with _empty_store(task.folder):
            backend = TensorRtBackend(workspace_mib=mib, on_progress=progress)
            try:
                backend.load(model, RunSettings("fp16")).close()
            except KeyboardInterrupt:
                outcome = "KeyboardInterrupt"
            except BackendError as error:
                outcome = str(error)
        return {"seconds": time.monotonic() - start, "outcome": outcome, "told": told[:200]}

    rows = task.each(("whole", "interrupted", "1 MiB of workspace"), watched)
    said = [
        f"{row['key']}: {row['outcome'][:60]} in {row['seconds']:.1f} s" for row in rows if "outcome" in row
    ]
    task.finish("; ".join(said), rows)


def rebuilt(task: Task) -> None:
    """One model built twice without kernel timings of before, and twice with them: how far engines differ."""
    model = network_bytes(task.network, 1)
    with _empty_store(task.folder) as store:

        def again(key: str) -> dict[str, Any]:
            with _empty_store(store) if key.startswith("without") else _store(store):
                backend = TensorRtBackend()
                for engine in backend._cache.folder.glob("*.plan"):
                    engine.unlink()
                start = time.monotonic()
                with backend.load(model, RunSettings("fp16")) as session:
                    return {"build_s": time.monotonic() - start, "us": samples_us(session, 20, 9)}

        rows = task.each([f"{how} timings {n}" for how in ("without", "with") for n in (1, 2, 3)], again)
    taken = [row["us"] for row in rows if "us" in row]
    spread = 100 * (max(taken) / min(taken) - 1) if taken else float("nan")
    task.finish(f"builds differ by up to {spread:.1f} %", rows)


@contextmanager
def _empty_store(beside: Path) -> Iterator[Path]:
    """A store with no engine and no kernel timings in it, for as long as the block takes."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(dir=beside, prefix="store-") as folder, _store(Path(folder)):
        yield Path(folder)


@contextmanager
def _store(folder: Path) -> Iterator[None]:
    before = os.environ.get("PONAS_HOME")
    os.environ["PONAS_HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("PONAS_HOME")
        if before is not None:
            os.environ["PONAS_HOME"] = before
