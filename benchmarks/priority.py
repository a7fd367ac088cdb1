"""What it is worth to visit most what decides: the same short time with priority and without, in turns.

    python benchmarks/priority.py --backend onnxruntime --time 20

Each row is a profile of its own. The intervals are half the width of 95 % intervals, the median.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.registry import default_backends
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling import priority
from ponas_deploy.profiling.precision import precision_of
from ponas_deploy.profiling.profile import profile
from ponas_deploy.tables.store import accuracy_table
from searchspace import build_space

EVERY = {"with": priority.EVERYTHING_EVERY, "without": 1}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", choices=default_backends(), default="onnxruntime")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--time", type=float, default=20.0)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()

    space, accuracy = build_space("ponas"), accuracy_table("accuracy/ponas").table
    print(f"{this_machine().processor}: {options.backend} {options.precision}, {options.time:g} s")
    print(
        f"{'priority':9} {'rounds':>6} {'networks':>9} {'front':>8} {'others':>8} {'networks':>9}"
        f" {'error':>8}  tau"
    )
    results = []
    for number in range(options.repeats):
        for name, every in EVERY.items():
            priority.EVERYTHING_EVERY = every
            table = profile(
                space,
                options.backend,
                RunSettings(options.precision, 1),
                device="here",
                time_budget_s=options.time,
                accuracy=accuracy,
                seed=number,
            )
            found, certificate, fit = precision_of(table, accuracy), table.certificate, table.correction
            assert certificate is not None
            assert fit is not None
            rounds = "+".join(map(str, table.protocol.rounds))
            print(
                f"{name:9} {rounds:>6} {len(fit.networks):>4} +{len(certificate.networks):>3}"
                f" {found.front_pct:6.2f} % {found.others_pct:6.2f} % {found.networks_pct:7.2f} %"
                f" {certificate.mean_error_pct:6.2f} %  {certificate.kendall_tau:.3f}",
                flush=True,
            )
            results.append(
                {
                    "priority": name,
                    "rounds": rounds,
                    "front_pct": found.front_pct,
                    "others_pct": found.others_pct,
                    "networks_pct": found.networks_pct,
                    "mean_error_pct": certificate.mean_error_pct,
                    "kendall_tau": certificate.kendall_tau,
                }
            )
    print(json.dumps({"benchmark": "priority", "machine": this_machine().name, "results": results}))


if __name__ == "__main__":
    main()
