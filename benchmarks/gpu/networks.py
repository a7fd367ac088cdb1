"""What the GPU benchmarks build and time: a configuration, our networks and torchvision's, one or many."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from ponas_deploy.backends import Backend, RunSettings, Session, get_backend, registry
from ponas_deploy.backends.torch import NAMES, TorchBackend
from ponas_deploy.measuring.plans import GPU_PLAN, plan_for
from ponas_deploy.measuring.protocol import Plan, Samples, first_estimate, measure, take_sample
from ponas_deploy.profiling.models import block_model, blocks_of, network_bytes
from ponas_deploy.tables.statistics import repeatability
from searchspace import Architecture, build_space

STOCK = ("mobilenet_v2", "mobilenet_v3_large")
_LOOKS = 9
_COMPILING_PROCESSES = 12
_FRESH_ROUNDS = 12


@dataclass(frozen=True)
class Config:
    """What is measured, written `torch:fp16:1` (backend, precision, batch)."""

    backend: str
    precision: str
    batch: int
    resolution: int = 224
    layout: str | None = None

    @classmethod
    def of(cls, text: str, resolution: int) -> Config:
        backend, precision, batch, *layout = text.split(":")
        return cls(backend, precision, int(batch), resolution, layout[0] if layout else None)

    @property
    def text(self) -> str:
        return f"{self.backend}:{self.precision}:{self.batch}" + (f":{self.layout}" if self.layout else "")

    @property
    def settings(self) -> RunSettings:
        return RunSettings(self.precision)

    @property
    def file_name(self) -> str:
        layout = f"-{self.layout}" if self.layout else ""
        return f"{self.backend}-{self.precision}-t1-b{self.batch}-ponas-{self.resolution}{layout}.json"

    @property
    def plan(self) -> Plan:
        by_process = registry.entry_of(self.backend).process_a_visit
        return replace(plan_for(self.backend) if by_process else GPU_PLAN, max_rounds=24)

    def build(self, device: str | None = None) -> Backend:
        """The backend; PyTorch's takes a device and a memory layout, the others take their own."""
        if self.backend in NAMES:
            return TorchBackend(self.backend, device=device, layout=self.layout)
        if device or self.layout:
            raise ValueError(f"{self.backend} takes neither a device nor a layout")
        return get_backend(self.backend)

    @property
    def second_plan(self) -> Plan:
        """For networks that are measured once more."""
        return replace(self.plan, min_rounds=_FRESH_ROUNDS, max_rounds=_FRESH_ROUNDS)


def fastest_precision(backend: str, device: str | None = None) -> str:
    """The fastest kind of precision that a backend has here."""
    there = Config(backend, "fp32", 1).build(device).precisions()
    return "fp16" if "fp16" in there else there[-1]


def open_network(backend: Backend, config: Config, architecture: Architecture) -> Session:
    return backend.load(network_bytes(architecture, config.batch), config.settings)


def open_stock(backend: Backend, config: Config, name: str) -> Session:
    """A torchvision network without weights, batch norm folded as in ours; through PyTorch only."""
    if not isinstance(backend, TorchBackend):
        raise ValueError(f"{backend.name} runs no torch module")
    import torchvision

    network = folded(getattr(torchvision.models, name)(weights=None).eval())
    return backend.session_of(
        network, (config.batch, 3, config.resolution, config.resolution), config.settings
    )


def folded(network: Any) -> Any:
    """`network` with each batch norm that follows a convolution in a Sequential folded into it."""
    import torch

    for sequence in network.modules():
        if not isinstance(sequence, torch.nn.Sequential):
            continue
        for index in range(len(sequence) - 1):
            first, second = sequence[index], sequence[index + 1]
            if isinstance(first, torch.nn.Conv2d) and isinstance(second, torch.nn.BatchNorm2d):
                sequence[index] = torch.nn.utils.fusion.fuse_conv_bn_eval(first, second)
                sequence[index + 1] = torch.nn.Identity()
    return network


def quick_ms(session: Session) -> float:
    """The median of a few samples, in milliseconds."""
    runs, _ = first_estimate(session, GPU_PLAN)
    return median(take_sample(session, runs, GPU_PLAN) for _ in range(_LOOKS)) / 1e6


def interleaved(sessions: Mapping[str, Session], plan: Plan) -> dict[str, Any]:
    """Networks in rounds: their medians, and how well those repeat."""
    runs = {name: first_estimate(session, plan)[0] for name, session in sessions.items()}
    samples = Samples()
    deadline = time.monotonic() + 30
    measure(sessions, runs, samples, plan, seed=1, sentinel=next(iter(sessions)), deadline=deadline)
    measurements = {name: samples.measurement(name) for name in sessions}
    return {
        "median_ms": {name: m.value_ms("median") for name, m in measurements.items()},
        "noise_floor_pct": repeatability(list(measurements.values()), "median").difference_pct,
    }


def compile_ahead(config: Config, architectures: Iterable[Architecture], blocks: bool) -> float:
    """Fill Inductor's cache on disk from many processes; seconds it took. Only for `torch-compile`."""
    start = time.monotonic()
    space = build_space("ponas", config.resolution)
    jobs: list[tuple[Config, str]] = [(config, f"network {arch.text}") for arch in architectures]
    if blocks:
        jobs += [(config, f"block {key}") for key in blocks_of(space)]
        jobs += [(config, f"stock {name}") for name in STOCK]
    processes = min(_COMPILING_PROCESSES, os.cpu_count() or 1, max(1, len(jobs)))
    context = multiprocessing.get_context("spawn")
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    with ProcessPoolExecutor(processes, context) as pool:
        for (_, job), failure in zip(jobs, pool.map(_compile, jobs), strict=True):
            if failure:
                print(f"compiling {job[:40]} failed: {failure}", flush=True)
    del os.environ["TORCHINDUCTOR_COMPILE_THREADS"]
    return time.monotonic() - start


def _compile(job: tuple[Config, str]) -> str:
    config, text = job
    kind, _, name = text.partition(" ")
    space = build_space("ponas", config.resolution)
    try:
        backend = config.build()
        if kind == "network":
            session = open_network(backend, config, Architecture(space, tuple(name.split(","))))
        elif kind == "stock":
            session = open_stock(backend, config, name)
        else:
            session = backend.load(block_model(name, blocks_of(space)[name], config.batch), config.settings)
        session.close()
    except Exception as error:  # one failure must not end the pool
        return f"{type(error).__name__}: {error}"
    return ""
