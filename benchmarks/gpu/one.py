"""One configuration of `profile.py`, in a process of its own: a table, then budgets, then a second
measurement.

`chosen` profiles the space and picks a network for each budget, measuring as it goes; `remeasured` is
run by another process and times the picked networks again, beside stock networks.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.networks import (
    STOCK,
    Config,
    compile_ahead,
    interleaved,
    open_network,
    open_stock,
    quick_ms,
)
from ponas_deploy.backends import Backend, Session
from ponas_deploy.backends.protocol import Launches
from ponas_deploy.backends.registry import runs_on_gpu
from ponas_deploy.errors import BudgetError
from ponas_deploy.files.documents import compact
from ponas_deploy.files.journal import Journal
from ponas_deploy.fitting.correction import LEAST_CHECK, LEAST_FIT
from ponas_deploy.machines.conditions import read_conditions
from ponas_deploy.machines.gpu import required_gpu
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling.models import block_model, blocks_of
from ponas_deploy.profiling.priority import losses
from ponas_deploy.profiling.profile import profile
from ponas_deploy.profiling.progress import ProfilingProgress
from ponas_deploy.profiling.resume import header
from ponas_deploy.profiling.sampling import choose
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.frontier import Front
from ponas_deploy.search.pareto import front
from ponas_deploy.search.specialize import shortlist, slowest_useful_ms
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.files import load_accuracy_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from searchspace import Architecture, build_space, parse_architecture
from searchspace.cost import cost_table, count_macs, network_cost
from searchspace.space import HEAD, STEM, Space

BUDGETS = 10
TRIES = 5
_LEAST_PROFILE_S = 60.0


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


# --- the table


def device_name(backend: Backend) -> str:
    return required_gpu() if runs_on_gpu(backend) else this_machine().name


def make_table(config: Config, backend: Backend, space: Space, seconds: float, out: Path) -> LatencyTable:
    """Profile and write the table.

    Where it fails its journal stays. Compiling ahead counts towards `seconds`.
    """
    journal = out / f"{config.file_name}.journal"
    if config.backend == "torch-compile":
        texts = fix_networks(config, backend, space, journal, seed=0)
        networks = [Architecture(space, tuple(text.split(","))) for text in texts]
        published = [parse_architecture(name, space) for name, _ in space.published]
        compiling_s = compile_ahead(config, [*networks, *published], blocks=True)
        print(f"compiled ahead in {compiling_s:.0f} s", flush=True)
        seconds = max(_LEAST_PROFILE_S, seconds - compiling_s)
    table = profile(
        space,
        backend,
        config.settings,
        config.batch,
        device=device_name(backend),
        time_budget_s=seconds,
        journal=journal,
        on_progress=_stages(),
        plan=config.plan,
    )
    write_latency_table(table, out / config.file_name, overwrite=True)
    journal.unlink()
    return table


def _stages() -> Callable[[ProfilingProgress], None]:
    """Prints each stage of a profile once."""
    seen = set()

    def listen(progress: ProfilingProgress) -> None:
        if progress.stage not in seen:
            seen.add(progress.stage)
            print(f"  {progress.stage}: {progress.text}, {progress.seconds_left:.0f} s left", flush=True)

    return listen


def fix_networks(config: Config, backend: Backend, space: Space, journal: Path, seed: int) -> list[str]:
    """Choose a profile's networks before it starts, by MACs, so that they can be compiled ahead.

    They are handed over in its journal; where it does not accept them it chooses its own.
    """
    _, macs = cost_table(count_macs, space)
    costs = [np.asarray(row, dtype=np.float64) for row in macs]
    fit, count = LEAST_FIT + 8, LEAST_FIT + 8 + LEAST_CHECK
    networks = choose(space, costs, losses(space, None), count, seed, least_fit=fit)
    conditions = Conditions(device_name(backend), config.backend, config.precision, 1, config.batch)
    environment = (*this_machine().environment(), *backend.environment())
    at_start = dict(read_conditions().conditions())
    wanted = header(SpaceKey.of(space), conditions, environment, config.plan, seed, at_start=at_start)
    with Journal(journal, wanted) as book:
        book.append({"fit": networks.fit, "check": networks.check})
    return [*networks.fit, *networks.check]


def accuracy_table(path: Path | None, space: Space) -> tuple[AccuracyTable, str]:
    """The table given, or a stand-in that says so: a layer's loss grows with the MACs a candidate saves."""
    if path is not None:
        table = load_accuracy_table(path)
        return table, table.origin.text if table.origin else str(path)
    _, macs = cost_table(count_macs, space)
    rows = [np.asarray(row, dtype=np.float64) for row in macs]
    values = tuple(tuple(float(v) for v in np.log(row.max() / row)) for row in rows)
    grid = Grid(tuple(layer.name for layer in space.layers), space.labels, values)
    return AccuracyTable(grid, space=SpaceKey.of(space)), "a stand-in from MACs, not accuracies"


# --- budgets


@dataclass
class Chooser:
    """Finds for a budget the best network that measures within it."""

    config: Config
    backend: Backend
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
                macs = network_cost(count_macs, architecture)
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


def described(table: LatencyTable, backend: Backend, launch_ns: int) -> dict[str, Any]:
    """What a summary says of a table."""
    return {
        "environment": dict(backend.environment()),
        "protocol": compact(table.protocol),
        "certificate": {key: getattr(table.certificate, key) for key in _CERTIFIED},
        "correction": table.correction and table.correction.method,
        "statistic": table.statistic,
        "unsettled": len(table.unsettled),
        "launch_us": launch_ns / 1e3,
        "launch_bound_cells": _below(table, launch_ns),
    }


def _plain(pick: Pick) -> dict[str, Any]:
    return {name: getattr(pick, name) for name in Pick.__dataclass_fields__}


def _launch_ns(backend: Backend, config: Config, space: Space) -> int:
    """What the host needs to launch a block."""
    proto = block_model(STEM, blocks_of(space)[STEM], config.batch)
    with backend.load(proto, config.settings) as session:
        return session.launch_ns if isinstance(session, Launches) else 0


def _below(table: LatencyTable, launch_ns: int) -> str:
    values = [m.value_ms(table.statistic) for key, m in table.measurements if key not in (STEM, HEAD)]
    return f"{sum(1e6 * value < launch_ns for value in values)} of {len(values)}"


def _timed_stock(backend: Backend, config: Config, name: str) -> float | None:
    try:
        with open_stock(backend, config, name) as session:
            return quick_ms(session)
    except Exception as error:  # torchvision may be missing or changed; the rest goes on
        print(f"{name} was not measured: {type(error).__name__}: {error}", flush=True)
        return None


# --- the second measurement


def remeasured(config: Config, picks: list[dict[str, Any]]) -> dict[str, Any]:
    """Time picked, published and stock networks in rounds, in a process that chose none of them."""
    space, backend = build_space("ponas", config.resolution), config.build()
    openers: dict[str, Callable[[], Session]] = {}
    for pick in picks:
        if pick["choices"]:
            architecture = Architecture(space, tuple(pick["choices"]))
            openers[pick["purpose"]] = _opener(backend, config, architecture)
    for name, _ in space.published:
        openers[name] = _opener(backend, config, parse_architecture(name, space))
    for name in STOCK:
        openers[name] = lambda name=name: open_stock(backend, config, name)
    with ExitStack() as stack:
        sessions = dict(_opened(openers, stack))
        return interleaved(sessions, config.second_plan)


def _opener(backend: Backend, config: Config, architecture: Architecture) -> Callable[[], Session]:
    return lambda: open_network(backend, config, architecture)


def _opened(openers: Mapping[str, Callable[[], Session]], stack: ExitStack) -> Iterator[tuple[str, Session]]:
    for name, opener in openers.items():
        try:
            yield name, stack.enter_context(opener())
        except Exception as error:  # one network less
            print(f"{name} was not measured again: {type(error).__name__}: {error}", flush=True)
