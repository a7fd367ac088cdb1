"""Whether the certificate of a prior is honest: priors fitted to machines that another table is the truth of.

    python benchmarks/planted_prior.py --seeds 2

No clock: every shipped table is a prior of every other one, and of machines whose cells differ from its own
by random factors of shapes, traits and cells. Their networks take what the truth adds up to, with errors of
their own and noise. What the certificate says, its mean error and the bound of that, is compared with the
error over 1000 random networks, over the front of the truth, over the front of the table itself (those that a
search chooses) and over its front with other losses than those it was profiled with.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from ponas_deploy.fitting.correction import traits
from ponas_deploy.measuring.protocol import Samples
from ponas_deploy.profiling.prior import Prior, assemble_from, load_prior
from ponas_deploy.profiling.sampling import choose
from ponas_deploy.search.frontier import exact_front
from ponas_deploy.tables.files import load_accuracy_table
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.measured_how import MeasurementProtocol
from ponas_deploy.tables.store import SHIPPED
from searchspace import Space, build_space

COUNTS, CHECKS = (10, 12, 24, 48), (12, 20)
OWN, NOISE, ROUNDS = 0.005, 0.005, 10
"""How far a network is from its sum, how far a round from the network: standard deviations."""
APART = {"shape": 0.2, "trait": 0.06, "cell": 0.05}
"""The factors of a made-up machine: standard deviations."""
KINDS = ("random", "front of the truth", "own front", "with other losses")


def truths(prior: Prior, others: Mapping[str, Prior], space: Space, seeds: int) -> Iterator[Grid]:
    """The other tables, and as many made-up machines as there are seeds."""
    yield from (other.grid(space) for name, other in others.items() if name != prior.name)
    yield from (made_up(prior.grid(space), space, np.random.default_rng(seed)) for seed in range(seeds))


def made_up(grid: Grid, space: Space, rng: np.random.Generator) -> Grid:
    """A machine whose cells differ from a table's by factors that shapes, traits and cells have in common."""
    drawn: dict[tuple[str, str], float] = {}

    def factor(kind: str, label: str) -> float:
        return APART[kind] * drawn.setdefault((kind, label), rng.standard_normal())

    def value(cell_ms: float, shape: str, words: tuple[str, ...], key: str) -> float:
        found = factor("shape", shape) + sum(factor("trait", word) for word in words) + factor("cell", key)
        return cell_ms * max(0.2, 1 + found)

    rows = (
        tuple(
            value(ms, str(cell.input_shape), traits(cell.ops), cell.key)
            for ms, cell in zip(*both, strict=True)
        )
        for both in zip(grid.values, space.cells(), strict=True)
    )
    return replace(grid, values=tuple(rows))


def fitted(prior: Prior, truth: Grid, space: Space, losses: Grid, checks: int, seed: int) -> LatencyTable:
    """The table that comes of a prior on a machine of which `truth` is known."""
    fit, rng, samples = prior.networks, np.random.default_rng([prior.networks, checks, seed]), Samples()
    costs = prior.grid(space).arrays()
    networks = choose(space, costs, losses.arrays(), fit + checks, seed, least_fit=fit, least_check=checks)
    for text in (*networks.fit, *networks.check):
        ns = 1e6 * truth.total(text.split(",")) * (1 + OWN * rng.standard_normal())
        for number in range(ROUNDS):
            samples.add(text, number, 1, ns * (1 + NOISE * rng.standard_normal()))
    conditions = Conditions("planted", "onnxruntime", "fp32", 1, 1)
    return assemble_from(
        prior, space, conditions, samples, networks, environment=(), protocol=MeasurementProtocol()
    )


def off_pct(grid: Grid, truth: Grid, rows: np.ndarray) -> float:  # type: ignore[type-arg]
    """The mean error over networks by candidate index (N, L)."""
    sums = [one.fixed + sum(row[rows[:, at]] for at, row in enumerate(one.arrays())) for one in (grid, truth)]
    return float(100 * np.abs(sums[0] / sums[1] - 1).mean())


def errors(table: LatencyTable, truth: Grid, losses: Grid, other: Grid) -> dict[str, float]:
    """The true error over networks of each kind."""
    fronts = [
        exact_front(grid.arrays(), loss.arrays(), fixed_cost=grid.fixed).choices
        for grid, loss in ((truth, losses), (table.grid, losses), (table.grid, other))
    ]
    sizes = [len(row) for row in truth.candidates]
    anything = np.random.default_rng(1).integers(sizes, size=(1000, len(sizes)))
    return {
        kind: off_pct(table.grid, truth, rows) for kind, rows in zip(KINDS, (anything, *fronts), strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    space = build_space("ponas")
    files = sorted((SHIPPED / "latency" / "amd-epyc-2c").glob("*.json"))
    priors = {prior.name: prior for prior in map(load_prior, files)}
    losses, other = (
        load_accuracy_table(SHIPPED / "accuracy" / f"{name}.json").loss for name in ("ponas", "ponas-digits")
    )
    print(f"fit check cases    says   bound  {', '.join(KINDS)}: error, within bound")
    results = []
    for count in COUNTS:
        for checks in CHECKS:
            found = []
            for prior in (replace(one, networks=count) for one in priors.values()):
                for truth in truths(prior, priors, space, options.seeds):
                    for seed in range(options.seeds):
                        table = fitted(prior, truth, space, losses, checks, seed)
                        assert table.certificate is not None
                        certificate = table.certificate
                        true = errors(table, truth, losses, other)
                        found.append(
                            {"says": certificate.mean_error_pct, "bound": certificate.error_bound_pct, **true}
                        )
            row = summary(found)
            results.append({"fit": count, "check": checks, "cases": len(found), **row})
            kinds = "  ".join(f"{row[kind]:.2f} % {row[f'{kind} within']:4.0%}" for kind in KINDS)
            print(
                f"{count:3} {checks:5} {len(found):5} {row['says']:5.2f} % {row['bound']:5.2f} %  {kinds}",
                flush=True,
            )
    print(json.dumps({"benchmark": "planted_prior", "seeds": options.seeds, "rows": results}))


def summary(found: list[dict[str, float]]) -> dict[str, float]:
    """Means over the cases, and the share of them in which the true error is within the bound."""
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    within = {
        f"{kind} within": float(np.mean([one[kind] <= one["bound"] for one in found])) for kind in KINDS
    }
    return {**means, **within}


if __name__ == "__main__":
    main()
