"""Every path of the torch backend once, in under a minute: versions, numerics, layouts, launches, noise."""

from __future__ import annotations

import json
import time
from itertools import product
from typing import Any

import numpy as np

from benchmarks.gpu.networks import (
    STOCK,
    Config,
    fastest_precision,
    interleaved,
    open_network,
    open_stock,
    quick_ms,
)
from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.backends.torch import LAYOUTS
from ponas_deploy.profiling.models import block_model, blocks_of
from searchspace import build_space, parse_architecture
from searchspace.graph import network_model
from searchspace.weights import random_weights

CELLS = 12


def smoke(resolution: int, device: str | None) -> None:
    """Run all checks; one that fails is printed and the rest goes on. Ends with one JSON line."""
    report: dict[str, Any] = {"benchmark": "gpu-smoke"}
    for name, check in (
        ("versions", versions),
        ("numerics", numerics),
        ("layouts_ms", layouts),
        ("cells", cells),
        ("timing", timing),
        ("noise", noise),
        ("stock_ms", stock),
        ("compiled", compiled),
        ("memory_mib", memory),
    ):
        start = time.monotonic()
        try:
            report[name] = check(resolution, device)
        except Exception as error:  # the point is to see all of what fails
            report[name] = f"FAILED {type(error).__name__}: {error}"[:500]
        print(f"{name} ({time.monotonic() - start:.1f} s)\n{_lines(report[name])}", flush=True)
    print(json.dumps(report))


def _lines(value: Any) -> str:
    return (
        "\n".join(f"  {key}: {item}" for key, item in value.items())
        if isinstance(value, dict)
        else f"  {value}"
    )


def versions(resolution: int, device: str | None) -> dict[str, str]:
    backend = Config("torch", "fp32", 1).build(device)
    return {**dict(backend.environment()), **dict(backend.reading().conditions())}


def numerics(resolution: int, device: str | None) -> dict[str, str]:
    """Largest difference from ONNX Runtime relative to the largest output; fp32 far above 1e-5 means TF32."""
    architecture = parse_architecture("PONAS-A", build_space("ponas", resolution))
    proto = network_model(architecture, random_weights(architecture)).SerializeToString()
    images = np.random.default_rng(0).standard_normal((1, 3, resolution, resolution), dtype=np.float32)
    with get_backend("onnxruntime").load(proto, RunSettings(threads=4)) as session:
        expected = session.run(images)
    backend, found = Config("torch", "fp32", 1).build(device), {}
    for precision in backend.precisions():
        with backend.load(proto, RunSettings(precision)) as session:
            difference = np.abs(session.run(images) - expected).max() / np.abs(expected).max()
            found[precision] = f"{difference:.1e}"
    return found


def layouts(resolution: int, device: str | None) -> dict[str, float]:
    """PONAS-A in each precision, layout and batch: which layout the backend should take."""
    architecture = parse_architecture("PONAS-A", build_space("ponas", resolution))
    backends = {layout: Config("torch", "fp32", 1, layout=layout).build(device) for layout in LAYOUTS}
    precisions = backends[LAYOUTS[0]].precisions()
    found = {}
    for batch, precision, layout in product((1, 32), precisions, LAYOUTS):
        config = Config("torch", precision, batch, resolution)
        with open_network(backends[layout], config, architecture) as session:
            found[f"{precision} batch {batch} {layout}"] = round(quick_ms(session), 4)
    return found


def cells(resolution: int, device: str | None) -> dict[str, Any]:
    """Seconds to load a cell, first and again, and the range of what cells take."""
    space, precision = build_space("ponas", resolution), fastest_precision("torch", device)
    backend, seconds, taken = Config("torch", precision, 1).build(device), [], []
    blocks = blocks_of(space)
    for key in list(blocks)[:: len(blocks) // CELLS]:
        start = time.monotonic()
        with backend.load(block_model(key, blocks[key], 1), RunSettings(precision)) as session:
            seconds.append(time.monotonic() - start)
            taken.append(1e3 * quick_ms(session))
    return {
        "load_s": f"{np.median(seconds):.3f} median, {max(seconds):.3f} most, of {len(seconds)}",
        "cell_us": f"{min(taken):.1f} to {max(taken):.1f}",
    }


def timing(resolution: int, device: str | None) -> dict[str, Any]:
    """The same network replayed and eager, and whether 100 runs take ten times what 10 take."""
    architecture = parse_architecture("PONAS-A", build_space("ponas", resolution))
    found: dict[str, Any] = {}
    for name in ("torch", "torch-eager"):
        config = Config(name, fastest_precision("torch", device), 1, resolution)
        with open_network(config.build(device), config, architecture) as session:
            found[f"{name} ms"] = round(quick_ms(session), 4)
            found[f"{name} launch_us"] = round(session.launch_ns / 1e3, 1)
            found[f"{name} captured"] = getattr(session, "captured", False)
            one, ten, hundred = (min(session.time_ns(n) for _ in range(5)) / n / 1e6 for n in (1, 10, 100))
            found[f"{name} ms by 1, 10, 100 runs"] = f"{one:.4f} {ten:.4f} {hundred:.4f}"
    return found


def noise(resolution: int, device: str | None) -> dict[str, Any]:
    """The published networks in rounds: their medians, and how well those repeat."""
    space, config = (
        build_space("ponas", resolution),
        Config("torch", fastest_precision("torch", device), 1, resolution),
    )
    backend = config.build(device)
    sessions = {n: open_network(backend, config, parse_architecture(n, space)) for n, _ in space.published}
    return {"sample_ns": config.plan.sample_ns, **interleaved(sessions, config.second_plan)}


def stock(resolution: int, device: str | None) -> dict[str, float]:
    config = Config("torch", fastest_precision("torch", device), 1, resolution)
    backend, found = config.build(device), {}
    for name in STOCK:
        with open_stock(backend, config, name) as session:
            found[name] = round(quick_ms(session), 4)
    return found


def compiled(resolution: int, device: str | None) -> dict[str, Any]:
    """One cell compiled: seconds, and microseconds against the plain one."""
    space = build_space("ponas", resolution)
    key, found = space.cell(3, 4).key, {}
    proto = block_model(key, blocks_of(space)[key], 1)
    for name in ("torch", "torch-compile"):
        backend, start = Config(name, fastest_precision("torch", device), 1).build(device), time.monotonic()
        with backend.load(proto, RunSettings(fastest_precision("torch", device))) as session:
            loaded = time.monotonic() - start
            found[name] = f"{1e3 * quick_ms(session):.2f} us, loaded in {loaded:.1f} s"
    return found


def memory(resolution: int, device: str | None) -> dict[str, int]:
    import torch

    if not torch.cuda.is_available():
        return {}
    return {
        "reserved_most": torch.cuda.max_memory_reserved() >> 20,
        "allocated": torch.cuda.memory_allocated() >> 20,
    }
