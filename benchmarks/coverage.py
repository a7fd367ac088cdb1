"""Whether `--confidence` keeps its promise on tables that were fitted to whole networks without repeats.

    python benchmarks/coverage.py
    python benchmarks/coverage.py --file device-a.csv --file device-b.csv

For each device a table is fitted to `--rows` networks, and its margin (`tables/margin.py`) is tried on the
others: of the networks accepted for a budget, how many are truly under, over budgets at the 10th to the 90th
percentile of their latencies; the same of those accepted within 10 % of the budget; and how many are under a
budget of exactly their prediction times the margin, the strictest test there is. With files the devices are
those, each a CSV as `ponas table fit` reads it; without, made-up ones: additive, with errors of each
network's own, two streams, a host that nothing is faster than, products of neighbouring layers, heavy tails,
a compiler that drops branches, a coarse clock. A table for people, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.fitting import fit_networks, predict, table_of
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.margin import margin
from ponas_deploy.tables.networks_csv import Networks, read_networks

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
SIZES = ((6, 5), (20, 9))
NOISE, TESTED = 0.01, 4000
BUDGETS = np.linspace(0.1, 0.9, 17)
NEAR = 0.9


def sums(costs: Floats, drawn: Ints) -> Floats:
    """The cells (N, L) that networks choose."""
    return np.asarray(costs[np.arange(len(costs)), drawn], dtype=np.float64)


def additive(cells: Floats, drawn: Ints, rng: np.random.Generator) -> Floats:
    return np.asarray(8 + cells.sum(axis=1), dtype=np.float64)


def own_error(cells: Floats, drawn: Ints, rng: np.random.Generator) -> Floats:
    return additive(cells, drawn, rng) * np.exp(0.05 * rng.standard_normal(len(cells)))


def two_streams(cells: Floats, drawn: Ints, rng: np.random.Generator) -> Floats:
    half = cells.shape[1] // 2
    one, other = cells[:, :half].sum(axis=1), cells[:, half:].sum(axis=1)
    return np.asarray(4 + np.maximum(one, other * one.mean() / other.mean()), dtype=np.float64)


def host_bound(cells: Floats, drawn: Ints, rng: np.random.Generator) -> Floats:
    found = additive(cells, drawn, rng)
    return np.maximum(found, np.median(found))


def neighbours(cells: Floats, drawn: Ints, rng: np.random.Generator) -> Floats:
    return np.asarray(4 + (cells[:, 1:] * cells[:, :-1]).sum(axis=1), dtype=np.float64)


def heavy_tails(cells: Floats, drawn: Ints, rng: np.random.Generator) -> Floats:
    return additive(cells, drawn, rng) * (1 + 0.03 * np.abs(rng.standard_t(2.5, len(cells))))


def dropped(cells: Floats, drawn: Ints, rng: np.random.Generator) -> Floats:
    found = additive(cells, drawn, rng)
    return np.where(drawn[:, 0] == 0, 5 + 0.3 * (found - 8), found)


def coarse(cells: Floats, drawn: Ints, rng: np.random.Generator) -> Floats:
    return np.round(additive(cells, drawn, rng))


DEVICES: tuple[Callable[[Floats, Ints, np.random.Generator], Floats], ...] = (
    additive, own_error, two_streams, host_bound, neighbours, heavy_tails, dropped, coarse,
)  # fmt: skip


def made_up(rows: int, seed: int, sizes: Sequence[tuple[int, int]] = SIZES) -> Iterator[tuple[str, Networks]]:
    """Networks of each kind of device, in spaces of so many layers and candidates."""
    for layers, candidates in sizes:
        for number, device in enumerate(DEVICES):
            rng = np.random.default_rng([seed, layers, number])
            costs = rng.uniform(0, 1, (layers, candidates)) * rng.uniform(0.5, 2, (layers, 1))
            drawn = rng.integers(0, candidates, (rows + TESTED, layers))
            values = device(sums(costs, drawn), drawn, rng) * (1 + NOISE * rng.standard_normal(len(drawn)))
            choices = tuple(tuple(f"op{index}" for index in row) for row in drawn)
            names = tuple(f"layer {layer}" for layer in range(layers))
            lines = tuple(range(2, len(drawn) + 2))
            found = Networks(Path("made up"), names, choices, tuple(values.tolist()), "latency", lines)
            yield f"{device.__name__} {layers} x {candidates}", found


def some(networks: Networks, places: Ints) -> Networks:
    return replace(
        networks,
        choices=tuple(networks.choices[place] for place in places),
        values=tuple(networks.values[place] for place in places),
        lines=tuple(networks.lines[place] for place in places),
    )


def tried(networks: Networks, rows: int, confidence: float, seed: int) -> dict[str, Any]:
    """What the margin of a table from some rows holds on the others."""
    order = np.random.default_rng(seed).permutation(len(networks))
    fit = fit_networks(some(networks, order[:rows]))
    table = table_of(fit)
    assert isinstance(table, LatencyTable)
    found = margin(table, confidence)
    assert found is not None
    known = [set(labels) for labels in table.grid.candidates]
    rest = [
        place
        for place in order[rows:]
        if all(label in labels for label, labels in zip(networks.choices[place], known, strict=True))
    ]
    measured = np.array([networks.values[place] for place in rest])
    safe = found.factor * np.array(predict(table, [networks.choices[place] for place in rest]))
    budgets = np.quantile(measured, BUDGETS)[:, None]
    accepted, under = safe <= budgets, measured <= budgets
    near = accepted & (safe >= NEAR * budgets)
    return {
        "margin": found.factor,
        "accepted_under": share(under, accepted),
        "near_under": share(under, near),
        "at_the_edge_under": float((measured <= safe).mean()),
        "additive": fit.additivity.additive,
        "p95_error_pct": fit.p95_error,
    }


def share(true: NDArray[np.bool_], of: NDArray[np.bool_]) -> float:
    """The share of networks for which something holds, over all budgets; 1 where none was accepted."""
    return float((true & of).sum() / of.sum()) if of.any() else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, action="append", default=[], help="networks of a device, CSV")
    parser.add_argument("--rows", type=int, default=400, help="how many a table is fitted to")
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    files = ((path.stem, read_networks(path)) for path in options.file)
    print(f"{'device':24} margin  accepted   near it  at the edge  p95 error  additive")
    results = []
    for name, networks in files if options.file else made_up(options.rows, options.seed):
        one = tried(networks, options.rows, options.confidence, options.seed)
        results.append({"device": name, **one})
        print(
            f"{name:24} {one['margin']:6.3f}   {one['accepted_under']:6.1%}    {one['near_under']:6.1%}"
            f"       {one['at_the_edge_under']:6.1%}    {one['p95_error_pct']:5.1f} %  {one['additive']}",
            flush=True,
        )
    print(json.dumps({"benchmark": "coverage", "rows": options.rows, "results": results}))


if __name__ == "__main__":
    main()
