"""How many candidates a second an evolution search scores, beside the plain way, with the same scores.

    python -m benchmarks.evolution --run runs/digits-spos-shufflenet-quick
    python -m benchmarks.evolution --generations 2 --population 8 --epochs 1

A table for people, then one JSON line. One search with MACs limited to --share of their range; each
generation is scored both ways, one after the other and in turn, so that both meet the same machine. Seconds
are wall clock.

The plain way, candidate by candidate: its network is built and gets the supernet's weights, its batch norm is
measured again on the same training images, and it is evaluated on the same validation images. It is made of
our own layers (`--stock`: torch's convolutions), in the faster of two settings: one thread an operation, or
all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from benchmarks.supernets import SEED, ceiling, macs_of, opened
from ponas_deploy.search.columns import Floats, Indices
from ponas_deploy.search.evolution import EvolutionSettings, evolve
from ponas_deploy.search.limited import LimitedSpace
from searchspace import Architecture
from searchspace.weights import inherit
from train.compute import Compute
from train.compute.device import threads
from train.networks import Network, load_arrays
from train.networks.convolution import Convolution
from train.runs import Run, SubnetEvaluator
from train.stages import Choices, Statistics, evaluate

WAYS = ("plain", "ours")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Generation:
    """Seconds that one generation takes each way, and how far its scores are apart at most."""

    networks: int
    plain_s: float
    ours_s: float
    apart_pp: float


@dataclass(frozen=True)
class Plain:
    """Networks one by one, `cores` threads an operation."""

    run: Run
    compute: Compute
    cores: int
    stock: bool

    def scores(self, networks: Sequence[Choices]) -> list[float]:
        """Top-1 in percent of each."""
        with threads(self.cores):
            return [self._score(choices) for choices in networks]

    def _score(self, choices: Choices) -> float:
        run = self.run
        architecture = Architecture(run.space, choices)
        network = Network(architecture)
        load_arrays(network, inherit(run.file.tensors, architecture))
        if self.stock:
            for part in network.modules():
                part.__class__ = nn.Conv2d if isinstance(part, Convolution) else part.__class__
        self.compute.place(network)
        Statistics.of_subnets(run.splits, SEED, elastic=False).measure([network], self.compute)
        return evaluate(network, run.splits.validation, self.compute).top1_pct


class Both:
    """Scores each generation both ways."""

    def __init__(self, run: Run, plain: Plain, evaluator: SubnetEvaluator) -> None:
        self._run, self._plain, self._evaluator = run, plain, evaluator
        self.generations: list[Generation] = []

    def __call__(self, networks: Indices) -> Floats:
        choices = [Architecture.from_indices(self._run.space, row).choices for row in networks]
        ways: dict[str, Callable[[], list[float]]] = {
            "plain": lambda: self._plain.scores(choices),
            "ours": lambda: [entry["top1_pct"] for entry in self._evaluator.entries(choices)],
        }
        order = WAYS if len(self.generations) % 2 else WAYS[::-1]
        found = {way: timed(ways[way]) for way in order}
        (plain, plain_s), (ours, ours_s) = (found[way] for way in WAYS)
        apart = float(np.abs(np.array(plain) - np.array(ours)).max())
        self.generations.append(Generation(len(choices), plain_s, ours_s, apart))
        show(self.generations[-1], len(self.generations))
        return np.array(ours)


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    start = time.perf_counter()
    found = work()
    return found, time.perf_counter() - start


def show(one: Generation, number: int) -> None:
    rates = one.networks / one.plain_s, one.networks / one.ours_s
    print(
        f"{number:>10} {one.networks:>8} {rates[0]:>9.2f} {rates[1]:>8.2f} {rates[1] / rates[0]:>6.2f}"
        f"   {one.apart_pp:.2f} pp",
        flush=True,
    )


def in_its_best_setting(run: Run, stock: bool, tried: int) -> Plain:
    """The plain way with one thread or all, whichever is faster on a few networks."""
    cores, seconds = torch.get_num_threads(), dict[int, float]()
    rng = np.random.default_rng(SEED)
    rows = [[int(rng.integers(len(labels))) for labels in run.space.labels] for _ in range(tried)]
    networks = [Architecture.from_indices(run.space, row).choices for row in rows]
    for count in {1, cores}:
        plain = Plain(run, Compute.on("cpu"), count, stock)
        plain.scores(networks[:1])
        seconds[count] = timed(lambda plain=plain: plain.scores(networks))[1]  # type: ignore[misc]
    best = min(seconds, key=lambda count: seconds[count])
    each = ", ".join(f"{tried / value:.2f} with {count}" for count, value in sorted(seconds.items()))
    print(f"plain way, candidates a second by threads: {each}")
    return Plain(run, Compute.on("cpu"), best, stock)


def measured(run: Run, options: argparse.Namespace, journal: Path) -> tuple[Plain, list[Generation]]:
    macs = macs_of(run.space)
    nothing = [np.zeros(len(labels)) for labels in run.space.labels]
    limit = ceiling(run.space, options.share)
    space = LimitedSpace.of(nothing, [macs.arrays()], [limit], [macs.fixed])
    half = options.population // 2
    settings = EvolutionSettings(
        options.generations, options.population, min(10, options.population), half, 0.1, half
    )
    plain = in_its_best_setting(run, options.stock, options.tried)
    print(f"\n{'generation':>10} {'networks':>8} {'plain /s':>9} {'ours /s':>8} {'ratio':>6}   apart")
    with SubnetEvaluator(run, journal, {"what": "benchmark"}, SEED, "cpu") as evaluator:
        score = Both(run, plain, evaluator)
        for _ in evolve(space, score, settings, seed=SEED):
            pass
    return plain, score.generations


def summary(generations: list[Generation], images: int) -> dict[str, Any]:
    networks = sum(one.networks for one in generations)
    rates = {way: networks / sum(getattr(one, f"{way}_s") for one in generations) for way in WAYS}
    ratios = [one.plain_s / one.ours_s for one in generations]
    apart = max(one.apart_pp for one in generations)
    same = apart < 100 / images + 1e-9
    print(
        f"\n{networks} networks: {rates['plain']:.2f} a second the plain way, {rates['ours']:.2f} ours:"
        f" {rates['ours'] / rates['plain']:.2f} times as many"
        f" ({min(ratios):.2f}-{max(ratios):.2f}, median {statistics.median(ratios):.2f})"
    )
    print(f"the same scores, to one image ({100 / images:.2f} pp): {'yes' if same else 'NO'}")
    return {
        "networks": networks,
        "per_s": rates,
        "ratio": rates["ours"] / rates["plain"],
        "same_scores": same,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time evolution search against the plain way.")
    parser.add_argument("--run", type=Path, help="a finished run; default: a supernet trained for --epochs")
    parser.add_argument("--space", default="spos-shufflenet", help="without --run")
    parser.add_argument("--epochs", type=int, default=4, help="without --run")
    parser.add_argument("--generations", type=int, default=20)
    parser.add_argument("--population", type=int, default=50)
    parser.add_argument("--share", type=float, default=0.5, help="the limit on MACs, of their range")
    parser.add_argument("--tried", type=int, default=6, help="networks that choose the plain way's threads")
    parser.add_argument("--stock", action="store_true", help="torch's own convolutions in the plain way")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        run = opened(Path(temporary), options.run, options.space, options.epochs)
        plain, generations = measured(run, options, Path(temporary) / "benchmark.journal")
        found = summary(generations, len(run.splits.validation.labels))
    host = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
    asked = {**vars(options), "run": options.run and options.run.name}
    rows = [asdict(one) for one in generations]
    result = {**found, "plain_threads": plain.cores, "generations": rows}
    print(json.dumps({"benchmark": "evolution", "host": host, "asked": asked, **result}))


if __name__ == "__main__":
    main()
