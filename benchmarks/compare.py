"""What specialising gains over stock networks at a few budgets, in each runtime and precision that is here.

    python benchmarks/compare.py [--budgets 5] [--time 120] [--runtime onnxruntime:fp32 ...] [--out FILE.json]

Runs `ponas compare --device cpu` once for each runtime and precision, all networks of it in the same rounds;
prints tables for `docs/results/compare.md` and writes what the command said as JSON, anew after each. A
runtime that fails is named and left out, and the exit code is 1. Options of `ponas compare` that follow `--`
are handed on: `-- --stock mobilenetv2_100 --latency 4ms,6ms`.

With budgets in milliseconds (`--latency`, as here) a last table has the best specialised network over all
runtimes and precisions within each, beside the stock network of the highest top-1 in the same runtime and
precision within the same budget, or as fast where the specialised one takes longer. INT8 is left out there,
because no top-1 in it is known.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ponas_deploy.backends import INT8, MIXED
from ponas_deploy.files.records import write_bytes
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling.devices import runtimes

ROOT = Path(__file__).resolve().parent.parent


def here() -> list[str]:
    """Every runtime and precision of this processor that stock networks have, `runtime:precision`."""
    return [
        f"{one.backend}:{precision}"
        for one in runtimes()
        for precision in one.precisions
        if precision != MIXED
    ]


def compared(runtime: str, budgets: int, seconds: float, more: list[str]) -> dict[str, Any]:
    """What the command says of one runtime and precision; its notes go to stderr."""
    backend, _, precision = runtime.partition(":")
    asked = ["--backend", backend, "--precision", precision, "--time", f"{seconds:g}s", "--json"]
    if "--latency" not in more:
        asked += ["--budgets", str(budgets)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "compare", "--device", "cpu", *asked, *more],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)["comparisons"][0]


def budget_rows(found: dict[str, Any]) -> list[str]:
    """A row a budget: the specialised network, and the best other one that is as fast."""
    networks = {one["key"]: one for one in found["networks"]}
    rows = [
        "| budget ms | pays | specialised ms | predicted top-1 % | best other as fast | ms | top-1 % | gain |"
        " within the noise |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found["budgets"]:
        chosen, other = networks[one["specialised"]], networks.get(one["other"] or "")
        pays = {True: "yes", False: "no", None: "not told"}[one["pays"]]
        mine = f"{one['budget_ms']:g} | {pays} | {chosen['measured_ms']:.2f} | {chosen['top1']['pct']:.2f}"
        theirs, gain = "none | |", ""
        if other:
            theirs = f"{other['name']} | {other['measured_ms']:.2f} | {other['top1']['pct']:.2f}"
            gain = f"{one['gain_points']:+.2f}"
        near = f"{networks[one['near']]['name']} {one['near_gain_points']:+.2f}" if one["near"] else ""
        rows.append(f"| {mine} | {theirs} | {gain} | {near} |")
    return rows


def network_rows(found: dict[str, Any]) -> list[str]:
    """A row a network, the fastest first."""
    rows = [
        "| front | network | px | ms | noise % | top-1 % | known | params M | MACs M |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found["networks"]:
        top1 = one["top1"]
        params = "-" if one["params"] is None else f"{one['params'] / 1e6:.2f}"
        known = f"{top1['pct']:.2f} | {top1['known']}{', distilled' * top1['distilled']}" if top1 else "- | -"
        macs = "-" if one["macs"] is None else f"{one['macs'] / 1e6:.0f}"
        rows.append(
            f"| {one['front']} | {one['name']} | {one['resolution_px'] or '-'} | {one['measured_ms']:.2f} |"
            f" {one['noise_pct']:.1f} | {known} | {params} | {macs} |"
        )
    return rows


def best_rows(results: dict[str, dict[str, Any]]) -> list[str]:
    """A row a budget: the specialised network of the highest top-1 over all runtimes, and its rival."""
    each = "network | ms | top-1 % | params M | MACs M"
    rows = [
        f"| budget ms | runtime | specialised {each} | stock {each} | latency ratio | top-1 gain |",
        "|" + "---|" * 14,
    ]
    counted = {runtime: one for runtime, one in results.items() if not runtime.endswith(f":{INT8}")}
    budgets_ms = sorted({budget["budget_ms"] for one in counted.values() for budget in one["budgets"]})
    for budget_ms in budgets_ms:
        found = []
        for runtime, one in counted.items():
            networks = {network["key"]: network for network in one["networks"]}
            chosen = {budget["budget_ms"]: budget["specialised"] for budget in one["budgets"]}
            if budget_ms in chosen:
                found.append((runtime, networks[chosen[budget_ms]], one["networks"]))
        runtime, mine, others = max(found, key=lambda one: (_top1_pct(one[1]), -one[1]["measured_ms"]))
        limit_ms = max(budget_ms, mine["measured_ms"])
        stock = [one for one in others if one["kind"] == "stock" and one["measured_ms"] <= limit_ms]
        row = f"| {budget_ms:g} | {runtime.replace(':', ' ')} | {_numbers(mine)} |"
        if not stock:
            rows.append(f"{row} none {'| ' * 7}|")
            continue
        best = max(stock, key=_top1_pct)
        gain, ratio = _top1_pct(mine) - _top1_pct(best), mine["measured_ms"] / best["measured_ms"]
        rows.append(f"{row} {_numbers(best)} | {ratio:.2f} | {gain:+.2f} |")
    return rows


def _top1_pct(network: dict[str, Any]) -> float:
    return float(network["top1"]["pct"])


def _numbers(network: dict[str, Any]) -> str:
    """Name, ms, top-1, parameters and MACs as cells."""
    costs = f"{network['params'] / 1e6:.2f} | {network['macs'] / 1e6:.0f}"
    return f"{network['name']} | {network['measured_ms']:.2f} | {_top1_pct(network):.2f} | {costs}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budgets", type=int, default=5)
    parser.add_argument("--time", type=float, default=120.0, help="seconds of rounds for each runtime")
    parser.add_argument("--runtime", action="append", help="runtime:precision; default all that are here")
    parser.add_argument("--out", type=Path, default=Path("compare.json"))
    parser.add_argument("more", nargs="*", help="options of `ponas compare`, behind --")
    asked = parser.parse_args()
    results, failed = {}, 0
    for runtime in asked.runtime or here():
        try:
            found = results[runtime] = compared(runtime, asked.budgets, asked.time, asked.more)
        except subprocess.CalledProcessError as error:
            failed += 1
            print(f"{runtime} is left out: the command ended with {error.returncode}", file=sys.stderr)
            continue
        print(f"\n## {runtime.replace(':', ' ')}\n\n{found['summary']}")
        print(
            f"Noise floor {found['noise_floor_pct']:.1f} %, {found['rounds']} rounds,"
            f" {found['shared_pct']:.0f} % of the samples met a shared core. {found['disturbed']}\n"
        )
        print("\n".join([*budget_rows(found), "", *network_rows(found)]), flush=True)
        written = json.dumps({"machine": dict(this_machine().environment()), **results}, indent=1)
        write_bytes(asked.out, written.encode(), overwrite=True)
    if "--latency" in asked.more and len(results) > 1:
        print("\n".join(["\n## The best of all runtimes\n", *best_rows(results)]))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
