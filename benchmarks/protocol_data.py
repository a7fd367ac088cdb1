"""Raw rounds to compare measuring protocols on: everything that any of them would time, in the same rounds.

One data set holds all cells alone, all cells in a chain (after a block of the layer before them), whole
networks spread over the range, some of them built twice, and on demand a reference network with one block
swapped. Each process builds its own, so that what differs between processes can be separated from what
differs between rounds. Every sample keeps when it was taken.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import Backend, RunSettings, Session, get_backend
from ponas_deploy.measuring.contention import probe_for, readings
from ponas_deploy.measuring.interference import Interference, take_snapshot
from ponas_deploy.measuring.protocol import Plan, Samples, first_estimate, measure
from ponas_deploy.profiling.models import block_model, blocks_of, network_bytes, quick_weights
from ponas_deploy.profiling.spread import spread_networks
from searchspace import build_space
from searchspace.architecture import Architecture
from searchspace.graph import model
from searchspace.ops import Op, Shape, parameters
from searchspace.space import Space

Floats = NDArray[np.float64]
Model = Callable[[], bytes]

CHAIN, CONTEXT, REBUILT = "chain ", "context ", "twin "
"""What keys begin with: a cell after its context, a context alone, a network built a second time."""
RAW = Plan(min_rounds=10_000, max_rounds=10_000, redone_pct=0.0, sentinel_visits=10_000)
"""The protocol's samples, nothing thrown away or redone."""


@dataclass(frozen=True, slots=True)
class Target:
    """What to gather: `networks` spread over the range, `rebuilt` of them twice, `swaps` or not."""

    backend: str
    precision: str
    threads: int = 1
    networks: int = 120
    rebuilt: int = 12
    chains: bool = True
    swaps: bool = False
    processes: int = 2
    seconds: float = 115.0
    """For each process, building included."""
    resolution: int = 224
    seed: int = 0

    @property
    def name(self) -> str:
        """Runtime, precision and threads."""
        return f"{self.backend} {self.precision}, {self.threads} thread{'s' if self.threads > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Raw:
    """Nanoseconds a run, `rounds_ns` (K, R), and `at_s` (K, R) when each sample was finished.

    `process` (R,) numbers the process of each round, `stolen_pct` and `others_pct` (R,) its interference.
    `build_s` (K,) is what building took, `visit_s` (K,) what a visit takes.
    """

    keys: tuple[str, ...]
    rounds_ns: Floats
    at_s: Floats
    process: Floats
    stolen_pct: Floats
    others_pct: Floats
    build_s: Floats
    visit_s: Floats

    def save(self, path: Path) -> None:
        """As one compressed file of arrays."""
        arrays = {name: getattr(self, name) for name in self.__slots__ if name != "keys"}
        np.savez_compressed(path, keys=np.array(self.keys), **arrays)

    @classmethod
    def load(cls, path: Path) -> Raw:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(
                tuple(map(str, arrays["keys"])), **{name: arrays[name] for name in arrays if name != "keys"}
            )

    def networks(self) -> tuple[str, ...]:
        """The whole networks' text forms."""
        return tuple(key for key in self.keys if "," in key and not key.startswith(REBUILT))


def gather(target: Target) -> Raw:
    """Measure the target, in one process after the other."""
    parts: list[Raw] = []
    texts: tuple[str, ...] = ()
    for number in range(target.processes):
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            raw = pool.submit(in_one_process, target, number, texts).result()
        parts.append(raw)
        texts = raw.networks()
    return joined(parts)


def joined(parts: Sequence[Raw]) -> Raw:
    """The rounds of several processes that timed the same things, one after the other."""
    first = parts[0]
    over_rounds = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=-1)
        for name in ("rounds_ns", "at_s", "process", "stolen_pct", "others_pct")
    }
    over_keys = {
        name: np.mean([getattr(part, name) for part in parts], axis=0) for name in ("build_s", "visit_s")
    }
    return Raw(first.keys, **over_rounds, **over_keys)


def in_one_process(target: Target, number: int, texts: Sequence[str], backend: Backend | None = None) -> Raw:
    """Rounds of process `number`; `texts` are its networks, chosen by a first estimate where there are
    none.
    """
    start = time.monotonic()
    space = build_space("ponas", target.resolution)
    runtime = backend or get_backend(target.backend)
    settings = RunSettings(target.precision, target.threads)
    with ExitStack() as stack:
        shop = Shop(runtime, settings, stack)
        furnish(shop, space, target, texts)
        return _timed(shop, target, number, start)


def furnish(shop: Shop, space: Space, target: Target, texts: Sequence[str] = ()) -> None:
    """Build all models of the target."""
    for key, block in blocks_of(space).items():
        shop.build(key, partial(block_model, key, block, 1))
    for key, made in chains(space).items() if target.chains else ():
        shop.build(key, made)
    costs = [np.array([shop.rough_ns[cell.key] for cell in row]) for row in space.cells()]
    for text in texts or chosen(space, costs, target):
        shop.build(text, partial(_network, space, text))
    for text in shop.networks()[:: max(1, target.networks // target.rebuilt)] if target.rebuilt else ():
        shop.build(REBUILT + text, partial(_network, space, text))


def chosen(space: Space, costs: Sequence[Floats], target: Target) -> tuple[str, ...]:
    """Networks spread over the range, and with `swaps` every distinct cell in the middle one of them."""
    spread = spread_networks(costs, target.networks, target.seed)
    found = [Architecture.from_indices(space, indices).text for indices in spread]
    if target.swaps:
        found += [text for text in swapped(space, found[len(found) // 2]) if text not in found]
    return tuple(found)


def swapped(space: Space, reference: str) -> tuple[str, ...]:
    """The reference with each distinct cell in turn at its first place."""
    labels, seen, made = reference.split(","), set(), []
    for layer, row in enumerate(space.cells()):
        for cell, label in zip(row, space.labels[layer], strict=True):
            if cell.key not in seen:
                seen.add(cell.key)
                made.append(",".join([*labels[:layer], label, *labels[layer + 1 :]]))
    return tuple(made)


def chains(space: Space) -> dict[str, Model]:
    """Each distinct cell after a block, and that block alone: their difference is the cell in context.

    The context of a cell is the first candidate of the layer before it, for the first layer the stem.
    """
    made: dict[str, Model] = {}
    names, shapes = context_of(space), (space.input_shape, *space.layer_shapes())
    for layer, row in enumerate(space.cells()):
        before = space.layers[layer - 1].candidates[0].ops if layer else space.stem
        context = ("context", before)
        for cell in row:
            if CHAIN + cell.key not in made:
                made[CHAIN + cell.key] = partial(_chain, (context, ("block", cell.ops)), shapes[layer])
                made.setdefault(names[cell.key], partial(_chain, (context,), shapes[layer]))
    return made


def context_of(space: Space) -> dict[str, str]:
    """The key of each cell's context: that of the first layer it is in."""
    found: dict[str, str] = {}
    for layer, row in zip(space.layers, space.cells(), strict=True):
        for cell in row:
            found.setdefault(cell.key, f"{CONTEXT}of layer {layer.name}")
    return found


def _chain(parts: Sequence[tuple[str, tuple[Op, ...]]], shape: Shape) -> bytes:
    wanted = [parameter for prefix, ops in parts for parameter in parameters(ops, prefix)]
    return bytes(model(parts, shape, quick_weights(wanted), 1, "chain").SerializeToString())


def _network(space: Space, text: str) -> bytes:
    return network_bytes(Architecture(space, tuple(text.split(","))), 1)


class Shop:
    """Sessions as they are built, with what that took."""

    def __init__(self, backend: Backend, settings: RunSettings, stack: ExitStack) -> None:
        self._backend, self._settings, self._stack = backend, settings, stack
        self.sessions: dict[str, Session] = {}
        self.runs: dict[str, int] = {}
        self.rough_ns: dict[str, float] = {}
        self.build_s: dict[str, float] = {}

    def build(self, key: str, made: Model) -> None:
        """Build one model and estimate its time."""
        start = time.monotonic()
        self.sessions[key] = self._stack.enter_context(self._backend.load(made(), self._settings))
        self.runs[key], self.rough_ns[key] = first_estimate(self.sessions[key], RAW)
        self.build_s[key] = time.monotonic() - start

    def networks(self) -> list[str]:
        """The networks built so far."""
        return [key for key in self.sessions if "," in key]


class Record:
    """What a measurement leaves behind: every sample, when it was finished, and what its visit took."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.samples, self.rounds = Samples(), 0
        self._at = dict[tuple[str, int], float]()
        self._visit_s: dict[str, list[float]] = {key: [] for key in keys}
        self._begun = 0.0
        self.samples.on_sample = self._after

    def before(self, key: str) -> None:
        """A visit begins."""
        self._begun = time.monotonic()

    def _after(self, key: str, number: int, runs: int, run_ns: float) -> None:
        self._at[key, number] = time.monotonic()
        self._visit_s[key].append(self._at[key, number] - self._begun)

    def raw(
        self, keys: Sequence[str], process: int, interference: Interference, build_s: Mapping[str, float]
    ) -> Raw:
        """All rounds so far."""
        rounds = range(self.rounds)
        sky = [one for one in interference.rounds if not one.discarded]
        return Raw(
            tuple(keys),
            np.array([[self.samples.rounds[key][one] for one in rounds] for key in keys]),
            np.array([[self._at[key, one] for one in rounds] for key in keys]),
            np.full(len(rounds), float(process)),
            np.array([one.stolen_pct for one in sky]),
            np.array([one.others_pct for one in sky]),
            np.array([build_s[key] for key in keys]),
            np.array([float(np.median(self._visit_s[key])) for key in keys]),
        )


def _timed(shop: Shop, target: Target, number: int, start: float) -> Raw:
    """Rounds until the time is over."""
    probe = probe_for(target.backend, target.threads)
    record = Record(tuple(shop.sessions))
    interference = Interference(RAW, lambda: take_snapshot(core=readings(probe)))
    outcome = measure(
        shop.sessions,
        shop.runs,
        record.samples,
        RAW,
        seed=1000 * target.seed + number,
        sentinel=next(iter(shop.sessions)),
        deadline=start + target.seconds,
        on_visit=record.before,
        interference=interference,
        probe=probe,
    )
    record.rounds = outcome.rounds
    return record.raw(tuple(shop.sessions), number, interference, shop.build_s)
