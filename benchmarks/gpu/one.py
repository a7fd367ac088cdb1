"""One configuration of `profile.py`, in a process of its own: a table, then budgets, then a fresh look.

`chosen` profiles the space and picks a network for each budget, measuring as it goes; `remeasured` is
run by another process and times the picked networks again, beside stock networks.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ponas_deploy.backends import RunSettings, Session
from ponas_deploy.backends.torch import TorchBackend
from ponas_deploy.calibrate import LEAST_CHECK, LEAST_FIT
from ponas_deploy.devices import this_machine
from ponas_deploy.errors import BudgetError
from ponas_deploy.frontier import Front
from ponas_deploy.journal import Journal
from ponas_deploy.measure import Plan, Samples, first_look, measure, repeatability, take_sample
from ponas_deploy.nvidia import GpuReading, gpu_slug
from ponas_deploy.probes import HEAD, STEM, block_model, blocks_of, network_bytes
from ponas_deploy.profile import profile
from ponas_deploy.progress import Progress
from ponas_deploy.specialize import Budget, front, shortlist, slowest_useful_ms
from ponas_deploy.spread import divide, spread_networks
from ponas_deploy.tables import (
    AccuracyTable,
    Conditions,
    Grid,
    LatencyTable,
    SpaceKey,
    load_accuracy_table,
    write_latency_table,
)
from searchspace import PUBLISHED, Architecture, build_space, parse_architecture
from searchspace.cost import cost_table, network_cost
from searchspace.space import Space

GPU_PLAN = Plan(sample_ns=2_000_000, settled_ns=50.0, max_rounds=24)
FRESH_PLAN = replace(GPU_PLAN, min_rounds=12, max_rounds=12)
BUDGETS = 10
TRIES = 5
STOCK = ("mobilenet_v2", "mobilenet_v3_large")
_LOOKS = 9
_COMPILING_PROCESSES = 12
_LEAST_PROFILE_S = 60.0


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

    def build(self, device: str | None = None) -> TorchBackend:
        return TorchBackend(self.backend, device=device, layout=self.layout)


@dataclass(frozen=True)
class Pick:
    """A network chosen for a budget, with what this process measured; `choices` empty when none met it."""

    purpose: str
    budget_ms: float
    choices: tuple[str, ...] = ()
    predicted_ms: float = 0.0
    loss_pp: float = 0.0
    measured_ms: float = 0.0
    tries: int = 0
    macs: int = 0


# --- building


def open_network(backend: TorchBackend, config: Config, architecture: Architecture) -> Session:
    return backend.load(network_bytes(architecture, config.batch), config.settings)


def open_stock(backend: TorchBackend, config: Config, name: str) -> Session:
    """A torchvision network without weights, batch norm folded as in ours."""
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


def accuracy_table(path: Path | None, space: Space) -> tuple[AccuracyTable, str]:
    """The table given, or a stand-in that says so: a layer's loss grows with the MACs a candidate saves."""
    if path is not None:
        table = load_accuracy_table(path)
        return table, table.origin.text if table.origin else str(path)
    _, macs = cost_table("macs", space)
    rows = [np.asarray(row, dtype=np.float64) for row in macs]
    values = tuple(tuple(float(v) for v in np.log(row.max() / row)) for row in rows)
    grid = Grid(tuple(layer.name for layer in space.layers), space.labels, values)
    return AccuracyTable(grid, space=SpaceKey.of(space)), "a stand-in from MACs, not accuracies"


# --- compiling in parallel


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


def fix_networks(config: Config, backend: TorchBackend, space: Space, journal: Path, seed: int) -> list[str]:
    """Choose a profile's networks before it starts, by MACs, so that they can be compiled ahead.

    They are handed over in its journal; where it does not accept them it chooses its own.
    """
    _, macs = cost_table("macs", space)
    spread = spread_networks([list(map(float, row)) for row in macs], LEAST_FIT + LEAST_CHECK + 8, seed)
    texts = [Architecture.from_indices(space, indices).text for indices in spread]
    checks = divide(len(texts), LEAST_FIT, LEAST_CHECK, LEAST_CHECK)
    conditions = Conditions(device_name(backend), config.backend, config.precision, 1, config.batch)
    header = {
        "space": SpaceKey.of(space).document(),
        "conditions": conditions.document(),
        "environment": dict((*this_machine().environment(), *backend.environment())),
        "protocol": {**dict(GPU_PLAN.document()), "seed": str(seed)},
    }
    with Journal(journal, header) as book:
        fit = [text for text, check in zip(texts, checks, strict=True) if not check]
        book.append({"fit": fit, "check": [text for text in texts if text not in fit]})
    return texts


# --- the table


def device_name(backend: TorchBackend) -> str:
    return gpu_slug(backend.device_name) if backend.on_gpu else this_machine().name


def make_table(
    config: Config, backend: TorchBackend, space: Space, seconds: float, out: Path
) -> LatencyTable:
    """Profile, add the GPU's conditions over the rounds, write the table.

    Where it fails its journal stays. Compiling ahead counts towards `seconds`.
    """
    journal = out / f"{config.file_name}.journal"
    if config.backend == "torch-compile":
        texts = fix_networks(config, backend, space, journal, seed=0)
        networks = [Architecture(space, tuple(text.split(","))) for text in texts]
        published = [parse_architecture(name, space) for name in PUBLISHED]
        compiling_s = compile_ahead(config, [*networks, *published], blocks=True)
        print(f"compiled ahead in {compiling_s:.0f} s", flush=True)
        seconds = max(_LEAST_PROFILE_S, seconds - compiling_s)
    readings = [backend.reading()]
    table = profile(
        space,
        backend,
        config.settings,
        config.batch,
        device=device_name(backend),
        time_budget_s=seconds,
        journal=journal,
        on_progress=listener(backend, readings),
        plan=GPU_PLAN,
    )
    table = replace(table, protocol=(*table.protocol, *round_conditions(readings)))
    write_latency_table(table, out / config.file_name, overwrite=True)
    journal.unlink()
    return table


def listener(backend: TorchBackend, readings: list[GpuReading]) -> Callable[[Progress], None]:
    """Prints each stage of a profile once and looks at the GPU after each round."""
    seen = set()

    def listen(progress: Progress) -> None:
        if progress.stage == "measure":
            readings.append(backend.reading())
        if progress.stage not in seen:
            seen.add(progress.stage)
            print(f"  {progress.stage}: {progress.text}, {progress.seconds_left:.0f} s left", flush=True)

    return listen


def round_conditions(readings: list[GpuReading]) -> Iterator[tuple[str, str]]:
    """The range of each reading over the rounds, and every throttle reason seen."""
    columns: dict[str, list[float]] = {}
    for reading in readings:
        for name, value in reading.conditions():
            if name != "gpu_throttle":
                columns.setdefault(name, []).append(float(value))
    for name, values in columns.items():
        yield name, f"{min(values):g} to {max(values):g} over {len(values)} readings"
    if any(reading.present for reading in readings):
        reasons = sorted({reason for reading in readings for reason in reading.throttle})
        yield "gpu_throttle", ", ".join(reasons) or "none"


# --- budgets


def quick_ms(session: Session) -> float:
    """The median of a few samples, in milliseconds."""
    runs, _ = first_look(session, GPU_PLAN)
    return median(take_sample(session, runs, GPU_PLAN) for _ in range(_LOOKS)) / 1e6


@dataclass
class Chooser:
    """Finds for a budget the best network that measures within it."""

    config: Config
    backend: TorchBackend
    space: Space
    latency: LatencyTable
    accuracy: AccuracyTable
    headroom_pct: float

    def compile_first_choices(self, budgets_ms: Iterable[float]) -> None:
        """What `pick` will build first for each budget, compiled all at once."""
        asked = [Budget(latency_ms=budget * (1 - self.headroom_pct / 100)) for budget in budgets_ms]
        found = [shortlist(self.latency, self.accuracy, budget, 1)[0] for budget in asked]
        networks = {choice.choices: Architecture(self.space, choice.choices) for choice in found}
        compile_ahead(self.config, networks.values(), blocks=False)

    def pick(self, purpose: str, budget_ms: float) -> Pick:
        """Search, build, measure; where it took too long, ask the table for that much less."""
        asked_ms = budget_ms * (1 - self.headroom_pct / 100)
        limit_ms = asked_ms
        for number in range(1, TRIES + 1):
            try:
                found = shortlist(self.latency, self.accuracy, Budget(latency_ms=limit_ms), 1)[0]
            except BudgetError:
                return Pick(purpose, budget_ms, tries=number - 1)
            architecture = Architecture(self.space, found.choices)
            with open_network(self.backend, self.config, architecture) as session:
                measured_ms = quick_ms(session)
            if measured_ms <= asked_ms:
                macs = network_cost("macs", architecture)
                loss, predicted = found.predicted_loss_pp, found.predicted_ms
                return Pick(
                    purpose, budget_ms, found.choices, predicted, loss, measured_ms, number, int(macs)
                )
            limit_ms = min(limit_ms, found.predicted_ms * asked_ms / measured_ms) * 0.998
        return Pick(purpose, budget_ms, tries=TRIES)


def budgets(found: Front, most_ms: float) -> list[float]:
    """Ten budgets from just above the fastest network to the last that buys anything."""
    least_ms = float(found.cost[0])
    return [least_ms + share * (most_ms - least_ms) for share in np.linspace(0.06, 1.0, BUDGETS)]


def chosen(
    config: Config,
    seconds: float,
    out: Path,
    accuracy_file: Path | None,
    headroom_pct: float,
    keep: Callable[[dict[str, Any]], None],
) -> None:
    """Table and picks of one configuration: `keep` gets the document after the table and after each pick."""
    start = time.monotonic()
    space, backend = build_space("ponas", config.resolution), config.build()
    accuracy, origin = accuracy_table(accuracy_file, space)
    table = make_table(config, backend, space, seconds, out)
    result = {
        "config": config.text,
        "table": config.file_name,
        "accuracy": origin,
        "profile_s": time.monotonic() - start,
        **described(table, backend, _launch_ns(backend, config, space)),
    }
    picks = result["picks"] = list[dict[str, Any]]()
    keep(result)
    chooser = Chooser(config, backend, space, table, accuracy, headroom_pct)
    wanted = budgets(front(table, accuracy), slowest_useful_ms(table, accuracy))
    if config.backend == "torch-compile":
        chooser.compile_first_choices(wanted)
    purposes = {f"budget {number}": budget for number, budget in enumerate(wanted, start=1)}
    stock_ms = ((f"as fast as {name}", _timed_stock(backend, config, name)) for name in STOCK)
    for purpose, budget_ms in itertools.chain(purposes.items(), stock_ms):
        if budget_ms is not None:
            picks.append(_plain(chooser.pick(purpose, budget_ms)))
            keep({**result, "total_s": time.monotonic() - start})


_CERTIFIED = (
    "mean_error_pct",
    "worst_error_pct",
    "isolated_mean_error_pct",
    "kendall_tau",
    "noise_floor_pct",
    "noise_tau",
)


def described(table: LatencyTable, backend: TorchBackend, launch_ns: int) -> dict[str, Any]:
    """What a summary says of a table."""
    return {
        "environment": dict(backend.environment()),
        "reading": dict(backend.reading().conditions()),
        "certificate": {key: getattr(table.certificate, key) for key in _CERTIFIED},
        "correction": table.correction and table.correction.method,
        "statistic": table.statistic,
        "unsettled": len(table.unsettled),
        "rounds": dict(table.protocol).get("rounds"),
        "launch_us": launch_ns / 1e3,
        "launch_bound_cells": _below(table, launch_ns),
    }


def _plain(pick: Pick) -> dict[str, Any]:
    return {name: getattr(pick, name) for name in Pick.__dataclass_fields__}


def _launch_ns(backend: TorchBackend, config: Config, space: Space) -> int:
    """What the host needs to launch a block."""
    proto = block_model(STEM, blocks_of(space)[STEM], config.batch)
    with backend.load(proto, config.settings) as session:
        return session.launch_ns


def _below(table: LatencyTable, launch_ns: int) -> str:
    values = [m.value_ms(table.statistic) for key, m in table.measurements if key not in (STEM, HEAD)]
    return f"{sum(1e6 * value < launch_ns for value in values)} of {len(values)}"


def _timed_stock(backend: TorchBackend, config: Config, name: str) -> float | None:
    try:
        with open_stock(backend, config, name) as session:
            return quick_ms(session)
    except Exception as error:  # torchvision may be missing or changed; the rest goes on
        print(f"{name} was not measured: {type(error).__name__}: {error}", flush=True)
        return None


# --- the fresh look


def remeasured(config: Config, picks: list[dict[str, Any]]) -> dict[str, Any]:
    """Time picked, published and stock networks in rounds, in a process that chose none of them."""
    space, backend = build_space("ponas", config.resolution), config.build()
    openers: dict[str, Callable[[], Session]] = {}
    for pick in picks:
        if pick["choices"]:
            architecture = Architecture(space, tuple(pick["choices"]))
            openers[pick["purpose"]] = _opener(backend, config, architecture)
    for name in PUBLISHED:
        openers[name] = _opener(backend, config, parse_architecture(name, space))
    for name in STOCK:
        openers[name] = lambda name=name: open_stock(backend, config, name)
    with ExitStack() as stack:
        sessions = dict(_opened(openers, stack))
        return _interleaved(sessions)


def _opener(backend: TorchBackend, config: Config, architecture: Architecture) -> Callable[[], Session]:
    return lambda: open_network(backend, config, architecture)


def _opened(openers: Mapping[str, Callable[[], Session]], stack: ExitStack) -> Iterator[tuple[str, Session]]:
    for name, opener in openers.items():
        try:
            yield name, stack.enter_context(opener())
        except Exception as error:  # one network less
            print(f"{name} was not measured again: {type(error).__name__}: {error}", flush=True)


def _interleaved(sessions: Mapping[str, Session]) -> dict[str, Any]:
    runs = {name: first_look(session, FRESH_PLAN)[0] for name, session in sessions.items()}
    samples = Samples()
    deadline = time.monotonic() + 30
    measure(sessions, runs, samples, FRESH_PLAN, seed=1, sentinel=next(iter(sessions)), deadline=deadline)
    measurements = {name: samples.measurement(name) for name in sessions}
    return {
        "median_ms": {name: m.value_ms("median") for name, m in measurements.items()},
        "noise_floor_pct": repeatability(list(measurements.values()), "median").difference_pct,
    }
