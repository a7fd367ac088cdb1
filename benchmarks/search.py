"""How long the searches take and how far the genetic algorithm ends from the optimum.

    python benchmarks/search.py
    python benchmarks/search.py --latency-table F --accuracy-table F

A table for people, then one JSON line. Times are wall clock on one core, in ms: the median of the runs, the
fastest and the slowest. Without tables the space is random, 19 layers of 12 candidates, from a fixed seed.
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
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from ponas_deploy.constrained import k_best_constrained, smallest_possible, solve_constrained
from ponas_deploy.frontier import Floats, best_within, k_best, pareto_front, total
from ponas_deploy.genetic import evolve

Column = list[Floats]
TIGHTNESS = 0.4  # a limit this far from the least cost to the cost of the least loss


@dataclass(frozen=True, slots=True)
class Timing:
    median_ms: float
    min_ms: float
    max_ms: float
    runs: int


def timed(search: Callable[[], object], runs: int) -> Timing:
    search()
    times_ms = []
    for _ in range(runs):
        start = time.perf_counter()
        search()
        times_ms.append((time.perf_counter() - start) * 1e3)
    return Timing(statistics.median(times_ms), min(times_ms), max(times_ms), runs)


def random_space(layers: int, candidates: int, seed: int = 0) -> tuple[Column, Column]:
    """Latency in ms and loss in percentage points: larger candidates cost more and lose less, with noise."""
    rng = np.random.default_rng(seed)
    cost = [np.sort(rng.uniform(0.1, 1, candidates)) * rng.uniform(0.5, 2) for _ in range(layers)]
    loss = []
    for layer in cost:
        worth = (layer.max() - layer) * rng.uniform(0.1, 2) + rng.normal(0, 0.1, candidates)
        loss.append(worth - worth.min())
    return cost, loss


def further_costs(cost: Column, seed: int = 1) -> list[Column]:
    """MACs and parameters that go with a latency, each with noise of its own."""
    rng = np.random.default_rng(seed)
    noisy = [[layer / layer.max() * rng.uniform(0.7, 1.3, layer.size) for layer in cost] for _ in range(2)]
    return [[np.rint(2e7 * layer) for layer in noisy[0]], [np.rint(3e5 * layer) for layer in noisy[1]]]


def limit_on(cost: Column, loss: Column, fixed: float = 0.0) -> float:
    front = pareto_front(cost, loss, fixed_cost=fixed)
    return float(front.cost[0] + TIGHTNESS * (front.cost[-1] - front.cost[0]))


def measure(cost: Column, loss: Column, fixed: float, seeds: int) -> dict[str, object]:
    front = pareto_front(cost, loss, fixed_cost=fixed)
    budget = limit_on(cost, loss, fixed)
    costs, constants = [cost, *further_costs(cost)], [fixed, 0.0, 0.0]
    limits = [limit_on(column, loss, constant) for column, constant in zip(costs, constants, strict=True)]
    best = solve_constrained(loss, costs, limits, constants)
    while best is None:  # limits can be possible one by one and not together
        least = smallest_possible(costs, constants)
        limits = [limit + 0.1 * (limit - low) for limit, low in zip(limits, least, strict=True)]
        best = solve_constrained(loss, costs, limits, constants)

    optimum = float(front.loss[best_within(front, budget) or 0])
    ga_s, gaps_pct = [], []
    for seed in range(seeds):
        start = time.perf_counter()
        found = evolve(loss, [cost], [budget], [fixed], seed=seed)
        ga_s.append(time.perf_counter() - start)
        gaps_pct.append(100 * (found.loss - optimum) / optimum if optimum else 0.0)
    return {
        "points": int(front.cost.size),
        "front": asdict(timed(lambda: pareto_front(cost, loss, fixed_cost=fixed), 50)),
        "k_best_10": asdict(timed(lambda: k_best(cost, loss, budget, 10, fixed_cost=fixed), 50)),
        "three_limits": asdict(timed(lambda: solve_constrained(loss, costs, limits, constants), 20)),
        "three_limits_k_10": asdict(
            timed(lambda: k_best_constrained(loss, costs, limits, constants, 10), 20)
        ),
        "three_limits_loss_pp": float(total(loss, best)),
        "ga_s": {"median": statistics.median(ga_s), "min": min(ga_s), "max": max(ga_s), "runs": seeds},
        "ga_gap_pct": {"mean": statistics.mean(gaps_pct), "min": min(gaps_pct), "max": max(gaps_pct)},
    }


def from_files(latency_file: Path, accuracy_file: Path) -> tuple[Column, Column, float]:
    from ponas_deploy.specialize import matched_loss
    from ponas_deploy.tables import load_accuracy_table, load_latency_table

    latency = load_latency_table(latency_file)
    loss = matched_loss(latency, load_accuracy_table(accuracy_file))
    return latency.grid.arrays(), loss.arrays(), latency.grid.fixed


def show(name: str, result: dict[str, object]) -> None:
    print(f"\n{name}: {result['points']} points on the front")
    for key in ("front", "k_best_10", "three_limits", "three_limits_k_10"):
        timing = Timing(**result[key])  # type: ignore[arg-type]
        spread = f"{timing.min_ms:.2f}-{timing.max_ms:.2f}"
        print(f"  {key:<18} {timing.median_ms:8.2f} ms  ({spread}, {timing.runs} runs)")
    ga_s, gap = result["ga_s"], result["ga_gap_pct"]
    assert isinstance(ga_s, dict)
    assert isinstance(gap, dict)
    print(f"  {'genetic algorithm':<18} {ga_s['median']:8.2f} s   ({ga_s['min']:.2f}-{ga_s['max']:.2f})")
    print(
        f"  {'its gap':<18} {gap['mean']:8.2f} %   ({gap['min']:.2f}-{gap['max']:.2f}, {ga_s['runs']} seeds)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--latency-table", type=Path)
    parser.add_argument("--accuracy-table", type=Path)
    parser.add_argument("--seeds", type=int, default=10, help="runs of the genetic algorithm")
    arguments = parser.parse_args()
    if (arguments.latency_table is None) != (arguments.accuracy_table is None):
        parser.error("give both tables or none")

    if arguments.latency_table:
        spaces = {"tables": from_files(arguments.latency_table, arguments.accuracy_table)}
    else:
        sizes = ((19, 12), (22, 9), (40, 20))
        spaces = {f"random {n} x {m}": (*random_space(n, m), 0.0) for n, m in sizes}
    results = {}
    for name, (cost, loss, fixed) in spaces.items():
        results[name] = measure(cost, loss, fixed, arguments.seeds)
        show(name, results[name])
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )
    print(f"\npeak memory {peak_mib:.1f} MiB of the whole process")
    host = {"machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__}
    print(json.dumps({"benchmark": "search", "host": host, "peak_mib": peak_mib, "results": results}))


if __name__ == "__main__":
    main()
