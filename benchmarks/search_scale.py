"""Searches of 160 layers x 48 candidates, easy and adversarial, beside scipy's HiGHS in the same run.

    python benchmarks/search_scale.py
    python benchmarks/search_scale.py --layers 80 --candidates 12 --kinds typical convex

Each instance runs in a process of its own, so that its peak memory is its own. `gap` is what is proven: how
much less any network could lose, as a share of the loss; 0 is a proven optimum (of all ten, of the 10 best).
HiGHS (`scipy.optimize.milp`, asked for no gap) gets the same instance where one network is asked for; it may
exceed a limit by its tolerance of 1e-6, and `over` says by how much it did.

A table for people, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from ponas_deploy.search.columns import Floats
from ponas_deploy.search.constrained import find_best
from ponas_deploy.search.frontier import exact_front

Column = list[Floats]
KINDS = ("typical", "convex", "anti-correlated", "subset sum", "powers of two")
TASKS = {"one budget": (1, 1), "10 best": (1, 10), "three limits": (3, 1), "three limits, 10 best": (3, 10)}
TIGHTNESS = 0.4  # a limit lies this far from the least cost to the cost of the least loss
HIGHS_LIMIT_S = 30


def tables(kind: str, layers: int, candidates: int, seed: int) -> tuple[Column, Column]:
    """Cost and loss of an instance of a kind.

    typical: larger candidates cost more and lose less, with noise, losses in hundredths. convex: diminishing
    returns without noise. anti-correlated: what a candidate costs less it loses more, and noise.
    subset sum: the same without noise. powers of two: the same in whole numbers, with ever more sums.
    """
    rng = np.random.default_rng(seed)
    if kind == "powers of two":
        steps = [np.arange(candidates) * 2.0 ** (layer % 20) for layer in range(layers)]
        return steps, [layer[::-1] for layer in steps]
    if kind in ("anti-correlated", "subset sum"):
        noise = 0.01 if kind == "anti-correlated" else 0.0
        cost = [rng.uniform(0.1, 1, candidates) for _ in range(layers)]
        return cost, [1.1 - layer + rng.normal(0, noise, candidates) for layer in cost]
    cost = [np.sort(rng.uniform(0.1, 1, candidates)) * rng.uniform(0.5, 2) for _ in range(layers)]
    if kind == "convex":
        return cost, [rng.uniform(0.5, 2) * ((c.max() - c) / np.ptp(c)) ** 2 for c in cost]
    loss = [(c.max() - c) * rng.uniform(0.1, 2) + rng.normal(0, 0.1, candidates) for c in cost]
    return cost, [np.round(layer - layer.min(), 2) for layer in loss]


def instance(
    kind: str, layers: int, candidates: int, limits: int, seed: int
) -> tuple[Column, list[Column], list[float]]:
    """Loss, costs and their limits; MACs and parameters go with the latency, with noise of their own."""
    cost, loss = tables(kind, layers, candidates, seed)
    rng = np.random.default_rng(seed + 1)
    costs = [cost]
    for scale in (2e7, 3e5)[: limits - 1]:
        costs.append([np.rint(scale * c / c.max() * rng.uniform(0.7, 1.3, c.size)) for c in cost])
    return loss, costs, [limit_on(column, loss) for column in costs]


def limit_on(cost: Column, loss: Column) -> float:
    least = sum(float(layer.min()) for layer in cost)
    best = sum(float(c[np.lexsort((c, v))[0]]) for c, v in zip(cost, loss, strict=True))
    return least + TIGHTNESS * (best - least)


def peak_mib() -> float:
    """Peak memory of this process; Linux hands `ru_maxrss` of the parent on, so not that there."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return float(line.split()[1]) / 2**10
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 2**20


def ours(loss: Column, costs: list[Column], limits: list[float], k: int) -> dict[str, float]:
    found = find_best(loss, costs, limits, [0.0] * len(costs), k)
    return {"loss": float(found.loss[0]), "gap": found.gap(len(found.loss) - 1) / abs(float(found.loss[0]))}


def highs(loss: Column, costs: list[Column], limits: list[float], _k: int) -> dict[str, float]:
    from scipy import optimize, sparse

    sizes = [layer.size for layer in loss]
    each = sparse.block_diag([np.ones((1, size)) for size in sizes])
    rows = [np.concatenate(cost) / limit for cost, limit in zip(costs, limits, strict=True)]
    solution = optimize.milp(
        np.concatenate(loss),
        integrality=np.ones(sum(sizes)),
        bounds=optimize.Bounds(0, 1),
        constraints=[
            optimize.LinearConstraint(each, 1, 1),
            optimize.LinearConstraint(sparse.csr_matrix(np.array(rows)), -np.inf, 1),
        ],
        options={"mip_rel_gap": 0.0, "time_limit": HIGHS_LIMIT_S},
    )
    if solution.x is None:
        return {"loss": float("nan"), "gap": float("nan")}
    taken = np.rint(solution.x).astype(bool)
    over = max(float(row[taken].sum()) - 1 for row in rows)
    return {"loss": float(solution.fun), "gap": float(solution.mip_gap), "over": max(over, 0.0)}


def front(loss: Column, costs: list[Column], _limits: list[float], _k: int) -> dict[str, float]:
    found = exact_front(costs[0], loss)
    return {"points": float(found.cost.size), "cost_gap": found.cost_gap, "loss_gap": found.loss_gap}


SOLVERS = {"ours": ours, "highs": highs, "front": front}


def solve(arguments: argparse.Namespace) -> None:
    """One instance by one solver in this process: a JSON line."""
    limits, k = TASKS[arguments.task]
    problem = instance(arguments.kinds[0], arguments.layers, arguments.candidates, limits, arguments.seed)
    solver = SOLVERS[arguments.solver]
    small = instance("typical", 4, 4, 1, 0)
    solver(*small, 1)  # imports and first calls
    start = time.perf_counter()
    found = solver(*problem, k)
    print(json.dumps({**found, "seconds": time.perf_counter() - start, "peak_mib": peak_mib()}))


def in_a_process(arguments: argparse.Namespace, kind: str, task: str, solver: str) -> dict[str, Any]:
    size = [
        "--layers",
        str(arguments.layers),
        "--candidates",
        str(arguments.candidates),
        "--seed",
        str(arguments.seed),
    ]
    command = [sys.executable, __file__, *size, "--kinds", kind, "--task", task, "--solver", solver]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    last = done.stdout.splitlines()[-1]  # HiGHS may print, too
    return {"kind": kind, "task": task, "solver": solver, **json.loads(last)}


def shown(row: dict[str, Any]) -> str:
    name = f"{row['kind']:<16} {row['task']:<22} {row['solver']:<6}"
    cost = f"{row['seconds']:8.3f} s {row['peak_mib']:6.0f} MiB"
    if row["solver"] == "front":
        gap = f"{100 * row['cost_gap']:.2g} % of cost and {row['loss_gap']:.2g} of loss"
        return f"{name} {cost}  {row['points']:.0f} points, gap {gap}"
    proven = "proven" if row["gap"] == 0 else f"gap {100 * row['gap']:.2g} %"
    over = f", {row['over']:.1e} over a limit" if row.get("over", 0.0) > 1e-12 else ""
    return f"{name} {cost}  loss {row['loss']:.10g}, {proven}{over}"


def compared(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every kind and task by us, and by HiGHS where one network is asked for; each is printed."""
    rows = []
    for kind in arguments.kinds:
        for task, (_, k) in TASKS.items():
            for solver in ("ours", *(["highs"] if k == 1 and not arguments.without_highs else [])):
                rows.append(in_a_process(arguments, kind, task, solver))
                print(shown(rows[-1]), flush=True)
        if arguments.front:
            rows.append(in_a_process(arguments, kind, "one budget", "front"))
            print(shown(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Search at scale, beside HiGHS.")
    parser.add_argument("--layers", type=int, default=160)
    parser.add_argument("--candidates", type=int, default=48)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-highs", action="store_true")
    parser.add_argument("--front", action="store_true", help="the whole front of each kind, too")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--solver", choices=SOLVERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.solver:
        solve(arguments)
        return
    rows = compared(arguments)
    host = {"machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__}
    size = [arguments.layers, arguments.candidates]
    print(json.dumps({"benchmark": "search_scale", "host": host, "size": size, "results": rows}))


if __name__ == "__main__":
    main()
