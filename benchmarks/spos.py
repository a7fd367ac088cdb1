"""The exact front of a fitted accuracy table beside evolution search, on the same supernet.

    python -m benchmarks.spos --run runs/digits-spos-shufflenet-quick
    python -m benchmarks.spos --networks 80 --epochs 1 --seeds 1

A table for people, then one JSON line. Each way picks a network within each of five ceilings on MACs, and
may evaluate --networks networks of the supernet for all five together:

- table: that many random networks, an accuracy table fitted to them, and of it the exact best;
- shortlist: the same with fewer random networks, and the best ten of each ceiling evaluated, the best
  of which counts;
- evolution: a search a ceiling, a fifth of the networks each;
- evolution x 5: a search a ceiling with as many networks as the others have for all five.

What counts is top-1 of the picks on the test images, which no way has seen; beside it that on the validation
images, on which they were picked. Both are of inherited weights, batch norm measured again. Seconds are wall
clock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.supernets import ceiling, macs_of, opened
from ponas_deploy.commands.train.fitted import fit_subnets, fitted_table
from ponas_deploy.engines.evolution_search import evolution_search
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.constrained import k_best
from ponas_deploy.search.evolution import EvolutionSettings
from ponas_deploy.tables.accuracy import AccuracyTable
from searchspace import Architecture
from train.compute import Compute
from train.progress import silent
from train.runs import Run, SubnetEvaluator, SubnetsWanted, evaluated_subnets
from train.settings.shrinking import LEAST_NETWORKS
from train.stages import Choices, Supernet, evaluate_subnets

SHARES = (0.2, 0.35, 0.5, 0.65, 0.8)
SHORTLIST = 10
SEED = 0

Pick = Callable[[Run, int, int], list[Choices]]
"""A run in a folder of its own, how many networks may be evaluated, a seed -> a pick a ceiling."""


@dataclass(frozen=True)
class Picked:
    """What one way comes to with one seed: top-1 in percent by ceiling."""

    way: str
    seed: int
    validation_pct: tuple[float, ...]
    test_pct: tuple[float, ...]
    seconds: float


def by_table(run: Run, networks: int, seed: int) -> list[Choices]:
    table = fitted(run, networks, seed)
    return [best_of(run, table, share, 1)[0] for share in SHARES]


def by_shortlist(run: Run, networks: int, seed: int) -> list[Choices]:
    table = fitted(run, networks - SHORTLIST * len(SHARES), seed)
    journal, found = run.file.path.with_name("shortlist.journal"), []
    with SubnetEvaluator(run, journal, {}, seed, "cpu") as evaluator:
        for share in SHARES:
            entries = evaluator.entries(best_of(run, table, share, SHORTLIST))
            found.append(tuple(max(entries, key=lambda entry: float(entry["top1_pct"]))["choices"]))
    return found


def by_evolution(run: Run, networks: int, seed: int) -> list[Choices]:
    return [
        evolved(run, share, networks // len(SHARES), seed + 1000 * place)
        for place, share in enumerate(SHARES)
    ]


def by_long_evolution(run: Run, networks: int, seed: int) -> list[Choices]:
    return [evolved(run, share, networks, seed + 1000 * place) for place, share in enumerate(SHARES)]


WAYS: dict[str, Pick] = {
    "table": by_table,
    "shortlist": by_shortlist,
    "evolution": by_evolution,
    "evolution x 5": by_long_evolution,
}


def fitted(run: Run, networks: int, seed: int) -> AccuracyTable:
    found = evaluated_subnets(run, SubnetsWanted("fit", networks, None, 0, seed, "cpu"), silent)
    return fitted_table(fit_subnets(run, found, seed), run, found, ())


def best_of(run: Run, table: AccuracyTable, share: float, count: int) -> list[Choices]:
    """The networks of least predicted loss within a ceiling."""
    macs = macs_of(run.space)
    loss = table.loss.aligned_to(macs, "the accuracy table", "the space").arrays()
    found = k_best(macs.arrays(), loss, ceiling(run.space, share), count, fixed_cost=macs.fixed)
    return [Architecture.from_indices(run.space, row).choices for row in found.choices]


def evolved(run: Run, share: float, networks: int, seed: int) -> Choices:
    """The best of a search of 20 generations, or of as many as have 10 networks."""
    generations = max(min(20, networks // 10), 1)
    population = networks // generations
    half = population // 2
    settings = EvolutionSettings(generations, population, min(10, population), half, 0.1, half)
    budget = Budget(macs=ceiling(run.space, share))
    return evolution_search(run, budget, None, settings, seed=seed, device="cpu").best.architecture.choices


def true_pct(run: Run, networks: Sequence[Choices]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Top-1 on the validation and on the test images."""
    compute = Compute.on("cpu", lanes=0)
    supernet = Supernet(run.space, run.file.tensors, compute)
    parts = (run.splits, replace(run.splits, validation=run.splits.test))
    found = [
        tuple(one.evaluation.top1_pct for one in evaluate_subnets(supernet, networks, part, compute, SEED))
        for part in parts
    ]
    return found[0], found[1]


def picked(way: str, folder: Path, options: argparse.Namespace, seed: int) -> Picked:
    """One way with one seed, in a folder of its own, so that nothing is known beforehand."""
    with TemporaryDirectory() as temporary:
        run = opened(Path(temporary), folder, options.space, options.epochs)
        start = time.perf_counter()
        networks = WAYS[way](run, options.networks, seed)
        seconds = time.perf_counter() - start
        return Picked(way, seed, *true_pct(run, networks), seconds)


def show(results: Sequence[Picked]) -> None:
    ceilings = "".join(f"{f'{share:.0%}':>8}" for share in SHARES)
    print(
        "\ntest top-1 % by ceiling (MACs, of their range), means over seeds\n"
        f"{'':14}{ceilings}    mean   seconds"
    )
    for way in WAYS:
        own = [one for one in results if one.way == way]
        cells = [statistics.fmean(one.test_pct[place] for one in own) for place in range(len(SHARES))]
        seconds = statistics.fmean(one.seconds for one in own)
        line = "".join(f"{cell:8.2f}" for cell in cells)
        print(f"{way:14}{line}{statistics.fmean(cells):8.2f}{seconds:10.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the exact front of a fitted table with evolution.")
    parser.add_argument("--run", type=Path, help="a finished run; default: a supernet trained for --epochs")
    parser.add_argument("--space", default="spos-shufflenet", help="without --run")
    parser.add_argument("--epochs", type=int, default=4, help="without --run")
    parser.add_argument("--networks", type=int, default=1000, help="that each way may evaluate")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.networks < (least := LEAST_NETWORKS + SHORTLIST * len(SHARES)):
        parser.error(f"a table and its shortlists need {least} networks")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        opened(folder, options.run, options.space, options.epochs)
        (folder / "accuracy.json").touch()
        results = []
        for seed in range(options.seeds):
            for way in WAYS:
                results.append(picked(way, folder, options, seed))
                print(f"{way}, seed {seed}: {results[-1].seconds:.1f} s", flush=True)
        show(results)
    host = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
    asked = {**vars(options), "run": options.run and options.run.name, "shares": SHARES}
    rows = [asdict(one) for one in results]
    print(json.dumps({"benchmark": "spos", "host": host, "asked": asked, "results": rows}))


if __name__ == "__main__":
    main()
