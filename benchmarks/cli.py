"""Whole-process times of commands that must answer at once: medians of several runs, then one JSON line.

    python benchmarks/cli.py [--runs 7]

What they must reach: `ponas --help` 0.2 s, `ponas specialize` from two CSV files 0.4 s.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLI = str(ROOT / "cli.py")
LABELS = [f"k{k}e{e}{se}" for e in (3, 6) for se in ("", "se") for k in (3, 5, 7)]
LIMITS_S = {"help": 0.2, "specialize": 0.4}


def write_csv(path: Path, column: str, low: float, high: float) -> Path:
    """A made-up table of 19 layers and 12 candidates."""
    rng = random.Random(path.name)
    rows = [f"L{layer},{label},{rng.uniform(low, high):.4f}" for layer in range(1, 20) for label in LABELS]
    path.write_text("\n".join([f"layer,candidate,{column}", *rows]) + "\n")
    return path


def commands(folder: Path) -> dict[str, list[str]]:
    """What is timed, by name; Python and NumPy alone say how busy the machine is."""
    latency = str(write_csv(folder / "latency.csv", "latency_ms", 0.05, 0.5))
    loss = str(write_csv(folder / "loss.csv", "loss_pp", 0.0, 2.0))
    tables = ["--latency-table", latency, "--accuracy-table", loss]
    return {
        "python alone": ["-c", ""],
        "import numpy": ["-c", "import numpy"],
        "help": [CLI, "--help"],
        "specialize": [CLI, "specialize", *tables, "--latency", "4ms", "--json"],
        "specialize, for people": [CLI, "specialize", *tables, "--latency", "4ms"],
        "pareto": [CLI, "pareto", *tables, "--json"],
        "describe": [CLI, "describe", "PONAS-A", "--json"],
        "table show": [CLI, "table", "show", latency],
        "table check": [CLI, "table", "check", latency],
    }


def seconds(arguments: list[str], runs: int) -> float | None:
    """The median time of a whole process; None when the command fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            env=environment,
            check=False,
        )
        times.append(time.perf_counter() - start)
        if done.returncode:
            return None
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        found = {name: seconds(arguments, runs) for name, arguments in commands(Path(folder)).items()}
    print(f"{'command':<24}{'median s':>10}{'limit s':>10}   of {runs} runs")
    for name, median in found.items():
        limit = f"{LIMITS_S[name]:.2f}" if name in LIMITS_S else ""
        print(f"{name:<24}{'failed' if median is None else f'{median:.3f}':>10}{limit:>10}")
    met = {name: (found[name] or float("inf")) <= limit for name, limit in LIMITS_S.items()}
    print(json.dumps({"benchmark": "cli", "runs": runs, "median_s": found, "limit_s": LIMITS_S, "met": met}))


if __name__ == "__main__":
    main()
