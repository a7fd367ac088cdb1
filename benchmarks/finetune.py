"""How much faster progressive fine-tuning is than twelve full passes a batch, with the same table.

    python benchmarks/finetune.py
    python benchmarks/finetune.py --images 988 --meta runs/digits-quick/meta.safetensors

A table for people, then one JSON line. A run in small: all layers of the PONAS space, the quick preset, some
of the digits and the same fraction of the validation images. Every layer is done both ways, one after the
other and from the same network, so that the two rows of the accuracy table can be compared. Seconds are
wall clock, of the whole layer: training, batch norm statistics, evaluation, and for the shared way the
features it keeps.

The plain way: each candidate stands in a network of its own, frozen but for the candidate, and every batch
goes through all of it. The network is made of our own layers (`--stock`: torch's convolutions), in the faster
of two settings: candidates side by side in one thread each, or one after the other in all threads.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder, whose profile.py torch would take for the one it wants
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import nn
from torch.nn import functional as F

from ponas_deploy.files.weights import read_weights
from searchspace import Architecture, Candidate, Space, build_space
from train.compute import Compute, shuffled
from train.compute.device import Module
from train.data import Images, Splits, TensorImages, load
from train.networks import BatchNorm, Block, Network, crop, load_arrays
from train.networks.convolution import Convolution
from train.progress import Evaluation
from train.settings import FineTuneSettings, preset
from train.stages import TunedLayer, evaluate, fine_tune, train_meta
from train.stages.candidates import CandidateTraining
from train.stages.equivalent import equivalents
from train.stages.loop import sgd

SEED = 0
PHASES = ("train", "recalibrate", "evaluate")
WAYS = ("plain", "shared")
TOLERANCE_NATS = 1e-3  # of the cross entropy; top-1 may differ by one image


@dataclass
class Clock:
    """Seconds that one layer takes one way; the phases are wall clock."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    phases_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    @contextmanager
    def running(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall_s += time.perf_counter() - wall
        self.cpu_s += time.process_time() - cpu

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.phases_s[name] += time.perf_counter() - start


@dataclass(frozen=True)
class Pair:
    """One layer both ways, and how far its two rows are apart at most."""

    layer: str
    plain: Clock
    shared: Clock
    top1_pp: float
    cross_entropy_nats: float


Round = list[Pair]


@dataclass(frozen=True)
class Plain:
    """One layer the plain way; `compute` says how many candidates train side by side."""

    space: Space
    layer: int
    network: Network
    splits: Splits
    settings: FineTuneSettings
    compute: Compute
    stock: bool

    def at(self, layer: int, network: Network) -> Plain:
        """Another layer, in a copy of another network."""
        own = copy.deepcopy(network).eval().requires_grad_(False)
        return replace(self, layer=layer, network=self._of_asked_layers(own))

    def row(self, clock: Clock) -> tuple[Evaluation, ...]:
        """The accuracy with each candidate after fine-tuning."""
        with clock.running():
            pairs = [self._pair(candidate) for candidate in self.space.layers[self.layer].candidates]
            with clock.phase("train"):
                self.compute.each(self._train, pairs)
            with clock.phase("recalibrate"):
                self.compute.each(self._recalibrate, pairs)
            with clock.phase("evaluate"):
                found = self.compute.each(self._evaluate, pairs)
        return tuple(found)

    @property
    def _name(self) -> str:
        return self.space.layers[self.layer].name

    def _pair(self, candidate: Candidate) -> tuple[nn.Module, Block]:
        """A whole network with a candidate in it, and the candidate; frozen parts are the same in all."""
        block, parts = Block(candidate.ops), self.network.parts()
        block.load_state_dict(crop(parts[self.layer + 1].state_dict(), candidate.ops))
        parts[self.layer + 1] = self._of_asked_layers(self.compute.place(block))
        return nn.Sequential(*parts), block

    def _of_asked_layers(self, module: Module) -> Module:
        for part in module.modules():
            if self.stock and isinstance(part, Convolution):
                part.__class__ = nn.Conv2d
        return module

    def _train(self, pair: tuple[nn.Module, Block]) -> None:
        (network, block), settings = pair, self.settings
        optimizer = sgd(block.parameters(), settings.lr, settings.momentum, settings.weight_decay)
        block.train()
        for epoch in range(settings.epochs):
            for images, labels in self._batches(epoch):
                optimizer.zero_grad()
                loss = F.cross_entropy(network(self.compute.put(images)), self.compute.put(labels))
                torch.autograd.backward(loss)
                optimizer.step()

    def _recalibrate(self, pair: tuple[nn.Module, Block]) -> None:
        network, block = pair
        block.eval()
        norms = [module for module in block.modules() if isinstance(module, BatchNorm)]
        with torch.no_grad():
            for number, (images, _) in enumerate(self._batches("statistics"), start=1):
                for norm in norms:
                    norm.train()
                    norm.momentum = 1 / number
                network(self.compute.put(images))

    def _evaluate(self, pair: tuple[nn.Module, Block]) -> Evaluation:
        return evaluate(pair[0], self.splits.validation, self.compute)

    def _batches(self, purpose: int | str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        images, batch = self.splits.train, self.settings.batch
        order = shuffled(len(images.labels), batch, f"layer {self._name}", purpose, seed=SEED)
        return images.batches(batch, order)


def shared(tuning: Iterator[TunedLayer], clock: Clock) -> TunedLayer:
    with phases_of_training(clock), clock.running():
        return next(tuning)


@contextmanager
def phases_of_training(clock: Clock) -> Iterator[None]:
    own = {name: getattr(CandidateTraining, name) for name in PHASES}

    def timed(name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with clock.phase(name):
                return own[name](*arguments)

        return call

    for name in PHASES:
        setattr(CandidateTraining, name, timed(name))
    yield
    for name in PHASES:
        setattr(CandidateTraining, name, own[name])


def fraction(splits: Splits, images: int) -> Splits:
    """The first `images` training images, and as large a part of the validation images, in 16s."""
    share = images / len(splits.train.labels)
    validation = 16 * math.ceil(len(splits.validation.labels) * share / 16)
    return replace(splits, train=first(splits.train, images), validation=first(splits.validation, validation))


def first(images: Images, count: int) -> TensorImages:
    assert isinstance(images, TensorImages)
    return TensorImages(images.images[:count], images.labels[:count])


def meta_network(space: Space, splits: Splits, file: Path | None, compute: Compute) -> Network:
    """That of a run, or a hastily trained one."""
    if file is None:
        hasty = replace(preset("quick").meta, epochs=4)
        return train_meta(space, splits, hasty, seed=SEED, compute=compute)[0]
    network = Network(Architecture(space, tuple(layer.largest.label for layer in space.layers)))
    load_arrays(network, read_weights(file).tensors)
    return compute.place(network)


def in_its_best_setting(plain: Plain) -> Plain:
    cores, seconds = torch.get_num_threads(), {}
    for lanes in (cores, 1):
        way, clock = replace(plain, compute=replace(plain.compute, lanes=lanes)), Clock()
        way.row(Clock())
        way.row(clock)
        seconds[lanes] = clock.wall_s
    print(
        f"plain way, layer {plain.layer + 1}: {seconds[cores]:.2f} s with {cores} candidates at a time,"
        f" {seconds[1]:.2f} s with {cores} threads for one"
    )
    return replace(plain, compute=replace(plain.compute, lanes=min(seconds, key=lambda n: seconds[n])))


def one_round(plain: Plain, meta: Network, compute: Compute, plain_first: bool) -> Iterator[Pair]:
    """All layers, both ways."""
    network = copy.deepcopy(meta)
    tuning = fine_tune(plain.space, network, plain.splits, plain.settings, seed=SEED, compute=compute)
    for index, layer in enumerate(plain.space.layers):
        clocks = Clock(), Clock()
        start = plain.at(index, network)
        if plain_first:
            expected = start.row(clocks[0])
        row = shared(tuning, clocks[1]).row
        if not plain_first:
            expected = start.row(clocks[0])
        top1 = [abs(a - b.top1_pct) for a, b in zip(row.top1_pct, expected, strict=True)]
        nats = [abs(a - b.cross_entropy) for a, b in zip(row.cross_entropy, expected, strict=True)]
        yield Pair(layer.name, *clocks, max(top1), max(nats))


def ratio(pairs: Round, of: str = "wall_s") -> float:
    plain, ours = (sum(getattr(getattr(pair, way), of) for pair in pairs) for way in WAYS)
    return plain / ours


def show(space: Space, rounds: list[Round]) -> None:
    print(
        f"\n{'layer':>5} {'map':>7} {'trained':>7} {'plain s':>8} {'shared s':>8} {'ratio':>6}   difference"
    )
    for index, (layer, shape) in enumerate(zip(space.layers, space.layer_shapes(), strict=False)):
        pairs = [one[index] for one in rounds]
        times = [statistics.median(getattr(pair, way).wall_s for pair in pairs) for way in WAYS]
        label = f"{layer.name:>5} {shape[1]:>3}x{shape[2]:<3} {len(set(equivalents(layer, shape))):>4}/12"
        top1, nats = max(pair.top1_pp for pair in pairs), max(pair.cross_entropy_nats for pair in pairs)
        print(f"{label} {columns(times)}   {top1:.2f} pp, {nats:.0e} nats")
    for phase in PHASES:
        times = [statistics.median(total(one, way, phase) for one in rounds) for way in WAYS]
        print(f"{phase:>21} {columns(times)}")


def columns(times: list[float]) -> str:
    return f"{times[0]:8.2f} {times[1]:8.2f} {times[0] / times[1]:6.2f}"


def total(pairs: Round, way: str, phase: str) -> float:
    return sum(getattr(pair, way).phases_s[phase] for pair in pairs)


def agree(pairs: Round, images: int) -> bool:
    """Whether every entry is the same to within one image and TOLERANCE_NATS."""
    return all(
        pair.top1_pp < 100 / images + 1e-9 and pair.cross_entropy_nats < TOLERANCE_NATS for pair in pairs
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time progressive fine-tuning against the plain way.")
    parser.add_argument("--meta", type=Path, help="weights of a meta network; default: 4 epochs on digits")
    parser.add_argument("--images", type=int, default=128, help="training images, of 988")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stock", action="store_true", help="torch's own convolutions in the plain way")
    arguments = parser.parse_args()

    compute, settings = Compute.on("cpu", lanes=0), preset("quick").fine_tune
    digits = load("digits", resolution=arguments.resolution, seed=SEED)
    space = build_space("ponas", arguments.resolution, digits.classes)
    network = meta_network(space, digits, arguments.meta, compute)
    splits = fraction(digits, arguments.images)
    any_layer = Plain(space, 0, network, splits, settings, compute, arguments.stock)
    plain = in_its_best_setting(any_layer.at(len(space.layers) // 2, network))

    rounds: list[Round] = []
    for number in range(arguments.rounds):
        rounds.append(list(one_round(plain, network, compute, plain_first=number % 2 == 0)))
        wall, cpu = ratio(rounds[-1]), ratio(rounds[-1], "cpu_s")
        print(f"round {number + 1}: {wall:.2f} times as fast ({cpu:.2f} in CPU seconds)", flush=True)
    show(space, rounds)
    ratios, images = [ratio(one) for one in rounds], len(splits.validation.labels)
    median, same = statistics.median(ratios), all(agree(one, images) for one in rounds)
    print(f"\ntotal: {median:.2f} times as fast ({min(ratios):.2f}-{max(ratios):.2f})")
    tolerance = f"to one image ({100 / images:.2f} pp) and {TOLERANCE_NATS:g} nats"
    print(f"the same table, {tolerance}: {'yes' if same else 'NO'}")
    host = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
    asked = {**vars(arguments), "meta": arguments.meta and arguments.meta.name}
    result = {"ratio": median, "ratios": ratios, "same_table": same, "plain_lanes": plain.compute.lanes}
    layers = [[asdict(pair) for pair in one] for one in rounds]
    print(json.dumps({"benchmark": "finetune", "host": host, "asked": asked, **result, "rounds": layers}))


if __name__ == "__main__":
    main()
