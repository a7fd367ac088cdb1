"""How long the searches take and how far the genetic algorithm ends from the optimum.

    python benchmarks/search.py
    python benchmarks/search.py --latency-table F --accuracy-table F

A table for people, then one JSON line. Times are wall clock: the median of the runs, the fastest and the
slowest. Without tables the spaces are random, from a fixed seed; 19 x 12 is the size of the paper's.
Much larger and adversarial ones, beside HiGHS: `benchmarks/search_scale.py`.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from ponas_deploy.search.columns import Floats, total
from ponas_deploy.search.constrained import k_best, k_best_constrained, solve_constrained
from ponas_deploy.search.frontier import best_within, exact_front
from ponas_deploy.search.genetic import evolve

Column = list[Floats]
SIZES = ((19, 12), (22, 9), (40, 20))
TIGHTNESS = 0.4  # a limit lies this far from the least cost to the cost of the least loss


def timed(search: Callable[[], object], runs: int) -> dict[str, float]:
    search()
    times_ms = []
    for _ in range(runs):
        start = time.perf_counter()
        search()
        times_ms.append((time.perf_counter() - start) * 1e3)
    return spread(times_ms)


def spread(times_ms: list[float]) -> dict[str, float]:
    return {
        "median_ms": statistics.median(times_ms),
        "min_ms": min(times_ms),
        "max_ms": max(times_ms),
        "runs": len(times_ms),
    }


def random_space(layers: int, candidates: int, seed: int = 0) -> tuple[Column, Column]:
    """Latency in ms and loss in percentage points: larger candidates cost more and lose less, with noise."""
    rng = np.random.default_rng(seed)
    cost = [np.sort(rng.uniform(0.1, 1, candidates)) * rng.uniform(0.5, 2) for _ in range(layers)]
    loss = []
    for layer in cost:
        loss_pp = (layer.max() - layer) * rng.uniform(0.1, 2) + rng.normal(0, 0.1, candidates)
        loss.append(loss_pp - loss_pp.min())
    return cost, loss


def macs_and_params(cost: Column, seed: int = 1) -> list[Column]:
    """Two more costs that go with a latency, each with noise of its own."""
    rng = np.random.default_rng(seed)
    return [
        [np.rint(scale * layer / layer.max() * rng.uniform(0.7, 1.3, layer.size)) for layer in cost]
        for scale in (2e7, 3e5)
    ]


def limit_on(cost: Column, loss: Column, fixed: float) -> float:
    front = exact_front(cost, loss, fixed_cost=fixed)
    return float(front.cost[0] + TIGHTNESS * (front.cost[-1] - front.cost[0]))


def genetic_runs(
    loss: Column, cost: Column, budget: float, fixed: float, optimum: float, seeds: int
) -> tuple[list[float], list[float]]:
    times_ms, gaps_pct = [], []
    for seed in range(seeds):
        start = time.perf_counter()
        found = evolve(loss, [cost], [budget], [fixed], seed=seed)
        times_ms.append((time.perf_counter() - start) * 1e3)
        gaps_pct.append(100 * (found.loss - optimum) / optimum if optimum else 0.0)
    return times_ms, gaps_pct


def measure(cost: Column, loss: Column, fixed: float, seeds: int) -> dict[str, Any]:
    front = exact_front(cost, loss, fixed_cost=fixed)
    budget = limit_on(cost, loss, fixed)
    optimum = float(front.loss[best_within(front, budget) or 0])
    costs, constants = [cost, *macs_and_params(cost)], [fixed, 0.0, 0.0]
    alone = k_best(cost, loss, budget, 1, fixed_cost=fixed).choices[0]
    limits = [
        budget,
        *(0.97 * float(total(column, alone)) for column in costs[1:]),
    ]  # so that all three count
    best = k_best_constrained(loss, costs, limits, constants, 1)
    genetic_ms, gaps_pct = genetic_runs(loss, cost, budget, fixed, optimum, seeds)
    return {
        "points": int(front.cost.size),
        "front": timed(lambda: exact_front(cost, loss, fixed_cost=fixed), 50),
        "k_best_10": timed(lambda: k_best(cost, loss, budget, 10, fixed_cost=fixed), 50),
        "three_limits": timed(lambda: solve_constrained(loss, costs, limits, constants), 20),
        "three_limits_k_10": timed(lambda: k_best_constrained(loss, costs, limits, constants, 10), 20),
        "genetic": spread(genetic_ms),
        "genetic_gap_pct": {"mean": statistics.mean(gaps_pct), "min": min(gaps_pct), "max": max(gaps_pct)},
        "loss_pp": {"one_limit": optimum, "three_limits": float(total(loss, best)[0])},
    }


def from_files(latency_file: Path, accuracy_file: Path) -> tuple[Column, Column, float]:
    from ponas_deploy.search.specialize import matched_loss
    from ponas_deploy.tables.files import load_accuracy_table, load_latency_table

    latency = load_latency_table(latency_file)
    loss = matched_loss(latency, load_accuracy_table(accuracy_file))
    return latency.grid.arrays(), loss.arrays(), latency.grid.fixed


def show(name: str, result: dict[str, Any]) -> None:
    print(f"\n{name}: {result['points']} points on the front")
    for key in ("front", "k_best_10", "three_limits", "three_limits_k_10", "genetic"):
        times = result[key]
        around = f"{times['min_ms']:.2f}-{times['max_ms']:.2f}, {times['runs']} runs"
        print(f"  {key:<18} {times['median_ms']:8.2f} ms  ({around})")
    gap = result["genetic_gap_pct"]
    print(f"  {'genetic gap':<18} {gap['mean']:8.2f} %   ({gap['min']:.2f}-{gap['max']:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the searches.")
    parser.add_argument("--latency-table", type=Path)
    parser.add_argument("--accuracy-table", type=Path)
    parser.add_argument("--seeds", type=int, default=10, help="runs of the genetic algorithm")
    arguments = parser.parse_args()
    if (arguments.latency_table is None) != (arguments.accuracy_table is None):
        parser.error("give both tables or none")

    if arguments.latency_table:
        spaces = {"tables": from_files(arguments.latency_table, arguments.accuracy_table)}
    else:
        spaces = {f"random {n} x {m}": (*random_space(n, m), 0.0) for n, m in SIZES}
    results = {}
    for name, (cost, loss, fixed) in spaces.items():
        results[name] = measure(cost, loss, fixed, arguments.seeds)
        show(name, results[name])
    bytes_a_unit = 1 if sys.platform == "darwin" else 2**10
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_a_unit / 2**20
    print(f"\npeak memory of the process: {peak_mib:.1f} MiB")
    host = {"machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__}
    print(json.dumps({"benchmark": "search", "host": host, "peak_mib": peak_mib, "results": results}))


if __name__ == "__main__":
    main()
