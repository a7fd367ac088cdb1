"""How fast a table is fitted to whole networks, and how good it is.

    python benchmarks/fit.py
    python benchmarks/fit.py --file measured.csv

A table for people, then one JSON line. Without a file the networks are made up, additive with 1 % of noise:
22 layers of 9 candidates, and the labels of the PONAS space. Tau and error are of held-out rows; the error
on noiseless networks that nobody fitted stands beside. Seconds are wall clock, of the whole fit with its
cross-validation and tests.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does

import numpy as np

from ponas_deploy.fitting import fit_networks, predict, table_of
from ponas_deploy.tables.networks_csv import Networks, read_networks

ROWS = (20, 50, 200, 400, 5_000, 20_000)
NOISE = 0.01
SPACES = {
    "22 x 9": (22, [f"op{index}" for index in range(9)]),
    "19 x 12": (19, [f"k{k}e{e}{se}" for e, se, k in product((3, 6), ("", "se"), (3, 5, 7))]),
}


def made_up(layers: int, labels: list[str], rows: int, seed: int) -> tuple[Networks, Networks]:
    """Networks with noise to fit, and as many others without: costs rise along the labels, with scatter."""
    rng = np.random.default_rng([rows, layers, seed])
    rise = np.linspace(0.2, 1, len(labels))
    costs = [rng.uniform(0.5, 2) * (rise + rng.normal(0, 0.1, len(labels))) for _ in range(layers)]
    found = []
    for noise in (NOISE, 0.0):
        drawn = rng.integers(0, len(labels), (rows, layers))
        values = 8 + sum(cost[drawn[:, layer]] for layer, cost in enumerate(costs))
        values = values * (1 + noise * rng.standard_normal(rows))
        choices = tuple(tuple(labels[index] for index in row) for row in drawn)
        names = tuple(f"layer {layer}" for layer in range(layers))
        lines = tuple(range(2, rows + 2))
        found.append(Networks(Path("made up"), names, choices, tuple(values.tolist()), "latency", lines))
    return found[0], found[1]


def measure(networks: Networks, others: Networks | None) -> dict[str, Any]:
    start = time.perf_counter()
    fit = fit_networks(networks)
    table = table_of(fit)
    seconds = time.perf_counter() - start
    result = {
        "rows": len(networks),
        "tau": fit.tau.tau,
        "tau_interval": [fit.tau.low, fit.tau.high],
        "error": fit.mean_error,
        "unseen_error": None,
        "identified": fit.identification.complete,
        "additive": fit.additivity.additive,
        "drift": fit.order.drift,
        "model": fit.model.prior,
        "seconds": seconds,
    }
    known = [set(labels) for labels in networks.candidates]
    if others is not None:
        rows = [
            (row, value)
            for row, value in zip(others.choices, others.values, strict=True)
            if all(label in labels for label, labels in zip(row, known, strict=True))
        ]
        if rows:
            predicted = np.array(predict(table, [row for row, _ in rows]))
            truth = np.array([value for _, value in rows])
            result["unseen_error"] = float(np.abs(100 * (predicted / truth - 1)).mean())
    return result


def show(name: str, result: dict[str, Any]) -> None:
    low, high = result["tau_interval"]
    unseen = "     -" if result["unseen_error"] is None else f"{result['unseen_error']:6.2f}"
    said = ", ".join(
        word
        for word, wanted in (("identified", True), ("additive", True), ("drift", True))
        if result[word] is wanted
    )
    print(
        f"{name:<10} {result['rows']:>6} {result['tau']:6.3f} ({low:5.2f} to {high:4.2f})"
        f" {result['error']:7.2f} {unseen} {result['seconds']:8.2f}  {result['model']:<15} {said}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the fit of tables to whole networks.")
    parser.add_argument("--file", type=Path, help="networks with values, CSV")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print("space        rows    tau     (95 %)       error % unseen  seconds  model")
    results = []
    if arguments.file:
        result = measure(read_networks(arguments.file), None)
        results.append({"space": arguments.file.name, **result})
        show("file", result)
    else:
        for (name, (layers, labels)), rows in product(SPACES.items(), ROWS):
            result = measure(*made_up(layers, labels, rows, arguments.seed))
            results.append({"space": name, **result})
            show(name, result)
    host = {"machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__}
    print(json.dumps({"benchmark": "fit", "host": host, "results": results}))


if __name__ == "__main__":
    main()
