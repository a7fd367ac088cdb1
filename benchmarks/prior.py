"""What a prior is worth: another runtime's table fitted on a few whole networks, against a full profile.

    python benchmarks/prior.py --backend onnxruntime --precision fp32 \
        --prior profiles/latency/amd-epyc-2c/openvino-bf16-t1-b1-ponas-224px-1000c.json

The machine is profiled in full. Then the prior is fitted on 12, 24 and 48 of the networks that the full
table was fitted on, and evaluated on the networks that certify the full table, which neither has seen; so are
MACs, fitted on the same networks. At last `--prior` is run for itself, with its own time and networks, and
compared with the full table: cell by cell, and over random networks.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.registry import default_backends
from ponas_deploy.fitting.correction import TimedNetwork, certify, correct
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling.prior import LEAST_NETWORKS, Prior, load_prior, macs_in_ms
from ponas_deploy.profiling.profile import profile
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import Certificate, LatencyTable
from ponas_deploy.tables.statistics import kendall_tau
from searchspace import Space, build_space

COUNTS = (12, 24, 48)
RANDOM_NETWORKS = 1000


def fitted(
    grid: Grid, space: Space, networks: Sequence[TimedNetwork], table: LatencyTable
) -> tuple[Grid, Certificate]:
    """A grid fitted on networks, and evaluated on those that certify the full table."""
    assert table.certificate is not None
    check = [TimedNetwork(net.choices, net.measurement) for net in table.certificate.networks]
    made, _ = correct(grid, space.cells(), networks, table.statistic, least=LEAST_NETWORKS)
    return made, certify(made, grid, check, table.statistic)


def rows(prior: Prior, space: Space, table: LatencyTable) -> Iterator[dict[str, Any]]:
    """The prior and MACs, fitted on more and more of the full table's networks."""
    assert table.correction is not None
    everything = [TimedNetwork(net.choices, net.measurement) for net in table.correction.networks]
    for count in COUNTS:
        places = np.unique(
            np.linspace(0, len(everything) - 1, min(count, len(everything))).round().astype(int)
        )
        some = [everything[place] for place in places]
        for name, grid in (
            ("prior", prior.grid(space)),
            ("MACs", macs_in_ms(space, some, table.statistic)),
        ):
            made, cert = fitted(grid, space, some, table)
            yield {"from": name, "networks": len(some), **figures(cert), **against(made, table.grid)}


def figures(cert: Certificate) -> dict[str, float]:
    return {
        "mean_error_pct": cert.mean_error_pct,
        "worst_error_pct": cert.worst_error_pct,
        "kendall_tau": cert.kendall_tau,
    }


def against(grid: Grid, full: Grid) -> dict[str, float]:
    """The mean difference from the full table in percent, of cells and of random networks.

    Whole networks do not tell what all candidates of a layer have in common, so cells are compared by how
    they differ within their layer, in percent of the mean cell.
    """
    own, true = ([row - row.mean() for row in one.arrays()] for one in (grid, full))
    mean = float(np.mean(np.concatenate(full.arrays())))
    rng = np.random.default_rng(0)
    choices = [tuple(str(rng.choice(labels)) for labels in full.candidates) for _ in range(RANDOM_NETWORKS)]
    sums = [np.array([one.total(some) for some in choices]) for one in (grid, full)]
    return {
        "cells_differ_pct": float(100 * np.abs(np.concatenate(own) - np.concatenate(true)).mean() / mean),
        "networks_differ_pct": float(100 * np.abs(sums[0] / sums[1] - 1).mean()),
        "networks_tau": kendall_tau(*sums),
    }


def timed(
    space: Space, options: argparse.Namespace, prior: Prior | None = None
) -> tuple[LatencyTable, float]:
    start = time.perf_counter()
    table = profile(
        space,
        options.backend,
        RunSettings(options.precision, options.threads),
        device="here",
        time_budget_s=options.prior_time if prior else options.time,
        prior=prior,
        seed=1 if prior else 0,
    )
    return table, time.perf_counter() - start


def line(name: str, networks: int, seconds: float | None, row: dict[str, float]) -> None:
    compared = (
        f"{row['cells_differ_pct']:7.1f} % {row['networks_differ_pct']:7.2f} % {row['networks_tau']:7.3f}"
        if "networks_tau" in row
        else ""
    )
    took = f"{seconds:6.0f} s" if seconds is not None else " " * 8
    print(
        f"{name:22} {networks:>8} {took} {row['mean_error_pct']:7.2f} % {row['worst_error_pct']:6.1f} %"
        f" {row['kendall_tau']:6.3f} {compared}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prior", type=Path, required=True)
    parser.add_argument("--backend", choices=default_backends(), default="onnxruntime")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--time", type=float, default=60.0, help="seconds for the full profile")
    parser.add_argument("--prior-time", type=float, default=20.0, help="seconds for the one from the prior")
    options = parser.parse_args()

    space, prior = build_space("ponas"), load_prior(options.prior)
    full, full_s = timed(space, options)
    assert full.certificate is not None
    assert full.correction is not None
    print(f"{this_machine().processor}: {options.backend} {options.precision} from {prior.name}")
    print(
        f"{'table':22} {'networks':>8} {'took':>8} {'error':>9} {'worst':>8} {'tau':>6}"
        f"   cells   networks, tau against the full table"
    )
    fit, cert = len(full.correction.networks), full.certificate
    line("full profile", fit, full_s, figures(cert))
    print(f"{'  noise floor':22} {'':8} {'':8} {cert.noise_floor_pct:7.2f} % {'':8} {cert.noise_tau:6.3f}")
    results = list(rows(prior, space, full))
    for row in results:
        line(f"fitted from {row['from']}", row["networks"], None, row)
    made, made_s = timed(space, options, prior)
    assert made.certificate is not None
    assert made.correction is not None
    own = {**figures(made.certificate), **against(made.grid, full.grid)}
    line("--prior, for itself", len(made.correction.networks), made_s, own)
    used = made.protocol.prior
    print(
        json.dumps(
            {
                "benchmark": "prior",
                "machine": this_machine().name,
                "backend": options.backend,
                "precision": options.precision,
                "prior": prior.name,
                "full": {**figures(cert), "seconds": full_s, "noise_floor_pct": cert.noise_floor_pct},
                "fitted": results,
                "alone": {**own, "seconds": made_s, "prior_finding": used and used.finding},
            }
        )
    )


if __name__ == "__main__":
    main()
