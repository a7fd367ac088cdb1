"""How long a profile of this machine takes and how far its table can be trusted.

    python benchmarks/latency_profile.py
    python benchmarks/latency_profile.py --backend openvino --precision bf16 --threads 2 --time 60 --details

A table for people, then one JSON line. Each runtime and precision has a process of its own. `plain sums`
is the error of adding up isolated cells, as others do; `error` that of the corrected table, on networks
that had no part in correcting it. `--details` computes both again, from the same raw rounds, with each
statistic, with the straight line alone, and with fewer networks to fit on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.backends.registry import default_backends
from ponas_deploy.fitting.correction import KINDS, LEAST_FIT, TimedNetwork, certify, correct
from ponas_deploy.machines.conditions import read_conditions
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling.profile import TIME_BUDGET_S, profile
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import Certificate, LatencyTable
from ponas_deploy.tables.measurement import STATISTICS
from ponas_deploy.tables.statistics import repeatability
from searchspace import Space, build_space


@dataclass(frozen=True)
class Config:
    backend: str
    precision: str
    threads: int
    batch: int
    resolution: int
    time_budget_s: float
    seed: int

    @property
    def space(self) -> Space:
        return build_space("ponas", self.resolution)


def run(config: Config) -> tuple[LatencyTable, float]:
    """Profile once; the table and the seconds it took, building and fitting included."""
    start = time.perf_counter()
    settings = RunSettings(config.precision, config.threads)
    table = profile(
        config.space,
        config.backend,
        settings,
        config.batch,
        time_budget_s=config.time_budget_s,
        seed=config.seed,
    )
    return table, time.perf_counter() - start


def figures(certificate: Certificate) -> dict[str, float]:
    return {
        "mean_error_pct": certificate.mean_error_pct,
        "worst_error_pct": certificate.worst_error_pct,
        "kendall_tau": certificate.kendall_tau,
        "noise_floor_pct": certificate.noise_floor_pct,
        "noise_tau": certificate.noise_tau,
        "isolated_mean_error_pct": certificate.isolated_mean_error_pct,
    }


def document(config: Config, table: LatencyTable, seconds: float) -> dict[str, Any]:
    assert table.certificate is not None
    assert table.correction is not None
    protocol = table.protocol
    return {
        **asdict(config),
        "seconds": seconds,
        **figures(table.certificate),
        "statistic": table.statistic,
        "correction": table.correction.method,
        "fit_networks": len(table.correction.networks),
        "check_networks": len(table.certificate.networks),
        "rounds": "+".join(map(str, protocol.rounds)),
        "stopped_by": protocol.stopped_by,
        "redone_visits": protocol.redone_visits,
        "unsettled": len(table.unsettled),
    }


def details(config: Config, table: LatencyTable) -> Iterator[dict[str, Any]]:
    """The same raw rounds under other statistics and corrections."""
    assert table.certificate is not None
    assert table.correction is not None
    fit, check = (
        tuple(TimedNetwork(net.choices, net.measurement) for net in part.networks)
        for part in (table.correction, table.certificate)
    )
    for statistic in STATISTICS:
        isolated = isolated_grid(table, statistic)
        noise = repeatability([net.measurement for net in (*fit, *check)], statistic)
        for name, networks, kinds in (
            ("line", fit, ()),
            ("line, few networks", fit[:: max(1, len(fit) // LEAST_FIT)], ()),
            ("line or ridge", fit, KINDS),
        ):
            if len(networks) < LEAST_FIT:
                continue
            grid, correction = correct(isolated, config.space.cells(), networks, statistic, kinds)
            certificate = certify(grid, isolated, check, statistic)
            yield {
                "statistic": statistic,
                "correction": name if name != "line or ridge" else f"chosen: {correction.method}",
                "networks": len(networks),
                **figures(certificate),
                "all_noise_pct": noise.difference_pct,
            }


def isolated_grid(table: LatencyTable, statistic: str) -> Grid:
    value = {key: measurement.value_ms(statistic) for key, measurement in table.measurements}
    rows = tuple(tuple(value[key] for key in row) for row in table.cell_keys)
    return Grid(table.grid.layers, table.grid.candidates, rows, value["stem"] + value["head"])


def configs(options: argparse.Namespace) -> Iterator[Config]:
    for backend in options.backend or default_backends():
        for precision in options.precision or get_backend(backend).precisions():
            if precision in get_backend(backend).precisions():
                yield Config(
                    backend,
                    precision,
                    options.threads,
                    options.batch,
                    options.resolution,
                    options.time,
                    options.seed,
                )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", action="append", choices=default_backends())
    parser.add_argument("--precision", action="append")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--time", type=float, default=TIME_BUDGET_S)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--details", action="store_true")
    options = parser.parse_args()

    machine = this_machine()
    print(f"{machine.processor}, {machine.cores} cores, {dict(read_conditions().conditions())}")
    print(
        f"{'runtime':18} {'time s':>7} {'plain sums':>11} {'error':>8} {'worst':>7} {'tau':>6}"
        f" {'noise':>8} {'tau':>6}  {'networks':9} rounds statistic, correction"
    )
    results = []
    for config in configs(options):
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            table, seconds = pool.submit(run, config).result()
        made = document(config, table, seconds)
        name = f"{config.backend} {config.precision}"
        print(
            f"{name:18} {seconds:7.1f} {made['isolated_mean_error_pct']:9.2f} %"
            f" {made['mean_error_pct']:6.2f} % {made['worst_error_pct']:5.1f} % {made['kendall_tau']:6.3f}"
            f" {made['noise_floor_pct']:6.2f} % {made['noise_tau']:6.3f}"
            f"  {made['fit_networks']:>2} + {made['check_networks']:<4} {made['rounds']:6}"
            f" {made['statistic']}, {made['correction']}",
            flush=True,
        )
        if options.details:
            made["details"] = list(details(config, table))
            for row in made["details"]:
                print(
                    f"    {row['statistic']:16} {row['correction']:22} {row['networks']:>2} networks"
                    f" {row['mean_error_pct']:6.2f} % worst {row['worst_error_pct']:5.1f} %"
                    f" tau {row['kendall_tau']:.3f}"
                    f" noise {row['noise_floor_pct']:.2f} % {row['noise_tau']:.3f}"
                )
        results.append(made)
    print(json.dumps({"benchmark": "profile", "machine": machine.name, "results": results}))


if __name__ == "__main__":
    main()
