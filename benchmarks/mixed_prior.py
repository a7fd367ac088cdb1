"""What several stored tables are worth as one prior, against each of them alone.

    python benchmarks/mixed_prior.py --seeds 2

No clock: each shipped table in turn is the truth that networks are measured of, with 0.7 % of noise, and so
is a made-up machine like it (`planted_prior.made_up`); the other tables are the priors, and made-up machines
like them. From 10 and 24 networks: the error on 300 others of a table fitted on each prior alone (the mean of
them, the best, which nobody knows beforehand), on the one that predicts held-out networks best, and on the
mixture that `profiling/prior.py` takes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.planted_prior import made_up
from ponas_deploy.errors import MeasurementError
from ponas_deploy.fitting.correction import TimedNetwork, correct
from ponas_deploy.fitting.mixture import mixture
from ponas_deploy.profiling.prior import LEAST_NETWORKS, load_prior
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.store import SHIPPED
from searchspace import Space, build_space

COUNTS, NOISE, UNSEEN = (10, 24), 0.007, 300
NAMES = ("mean alone", "best alone", "chosen by held-out error", "mixture")


def cases(space: Space, seeds: int) -> Iterator[tuple[Grid, list[Grid], int]]:
    """A truth, priors of it, and a seed."""
    files = sorted((SHIPPED / "latency").glob("*/*.json"))
    grids = [load_prior(path).grid(space) for path in files]
    for place, truth in enumerate(grids):
        others = [grid for other, grid in enumerate(grids) if other != place]
        for seed in range(seeds):
            more = [made_up(grid, space, np.random.default_rng([seed, n])) for n, grid in enumerate(others)]
            yield truth, [*others, *more], seed
            yield made_up(truth, space, np.random.default_rng(100 + seed)), others, seed


def errors(truth: Grid, priors: Sequence[Grid], space: Space, count: int, seed: int) -> tuple[float, ...]:
    """The errors in percent by the names of NAMES."""
    rng = np.random.default_rng([seed, count])
    drawn = [tuple(str(rng.choice(labels)) for labels in truth.candidates) for _ in range(count + UNSEEN)]
    some, unseen = drawn[:count], drawn[count:]
    measured = np.array([truth.total(one) * (1 + NOISE * rng.standard_normal()) for one in some])
    networks = [
        TimedNetwork(one, Measurement(1, (1e6 * ms,) * 2)) for one, ms in zip(some, measured, strict=True)
    ]
    true = np.array([truth.total(one) for one in unseen])

    def error_pct(prior: Grid) -> float:
        try:
            made, _ = correct(prior, space.cells(), networks, "median", least=LEAST_NETWORKS)
        except MeasurementError:
            return float("nan")
        return 100 * float(np.abs(np.array([made.total(one) for one in unseen]) / true - 1).mean())

    alone, mixed = [error_pct(prior) for prior in priors], mixture(priors, some, measured)
    chosen = alone[int(np.argmin(mixed.alone_pct))]
    return float(np.nanmean(alone)), float(np.nanmin(alone)), chosen, error_pct(mixed.grid)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    space, rows = build_space("ponas"), []
    print(f"networks  {'  '.join(NAMES)}: error on networks that nobody measured")
    for count in COUNTS:
        found = [
            errors(truth, priors, space, count, seed) for truth, priors, seed in cases(space, options.seeds)
        ]
        means = np.nanmean(found, axis=0)
        rows.append({"networks": count, **dict(zip(NAMES, means.tolist(), strict=True))})
        print(f"{count:8}  " + "  ".join(f"{mean:.2f} %" for mean in means), flush=True)
    print(json.dumps({"benchmark": "mixed_prior", "seeds": options.seeds, "rows": rows}))


if __name__ == "__main__":
    main()
