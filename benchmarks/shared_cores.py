"""What the contention probe is worth: one engine timed in new processes, in turn with and without.

    python benchmarks/shared_cores.py
    python benchmarks/shared_cores.py --backend openvino --processes 20

Where nobody shares the cores of a machine, both columns are the same. `between processes` is the standard
deviation of the medians of the processes, `furthest` how far the largest lies above the smallest. A table for
people, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from math import log
from pathlib import Path
from statistics import fmean, median, stdev
from time import monotonic

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.measuring.contention import CoreReading, probe_for, readings
from ponas_deploy.measuring.engine_process import SECONDS, single_runs
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.trial import middle
from searchspace import build_space

WAYS = ("without", "probed")


def main() -> None:
    options = arguments()
    if options.serve:
        serve(Path(options.serve), options.backend, options.core_ns)
        return
    medians: dict[str, list[float]] = {way: [] for way in WAYS}
    took_s: dict[str, list[float]] = {way: [] for way in WAYS}
    core = CoreReading()
    with tempfile.TemporaryDirectory() as folder:
        model = network_bytes(middle(build_space("ponas", options.resolution)), 1)
        engine = get_backend(options.backend).save(model, RunSettings(), Path(folder))[0]
        for number in range(options.processes):
            for way in WAYS[:: -1 if number % 2 else 1]:
                start = monotonic()
                median_ms, seen = timed(engine, options.backend, core.usual_ns if way == "probed" else -1.0)
                core += seen
                medians[way].append(median_ms)
                took_s[way].append(monotonic() - start)
    found = {way: summary(medians[way], took_s[way]) for way in WAYS}
    shared = f"the core was shared in {core.shared_pct:.0f} % of the samples"
    print(f"{options.backend}, {options.processes} processes each; {shared}")
    print(f"{'':10}  median ms  between processes  furthest  seconds")
    for way, one in found.items():
        print(
            f"{way:10}  {one['median_ms']:9.4g}  {one['between_pct']:15.1f} %  {one['furthest_pct']:6.1f} %"
            f"  {one['seconds']:7.2f}"
        )
    print(json.dumps({"backend": options.backend, "shared_pct": core.shared_pct, **found}))


def timed(engine: Path, backend: str, core_ns: float) -> tuple[float, CoreReading]:
    """Median milliseconds of an engine in a fresh process, and how its core was; not probed below 0."""
    command = [sys.executable, __file__, "--serve", str(engine), "--backend", backend, f"--core-ns={core_ns}"]
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return done["median_ms"], CoreReading(*done["core"])


def serve(engine: Path, backend: str, core_ns: float) -> None:
    """The process that times."""
    probe = probe_for(backend, 1, core_ns) if core_ns >= 0 else None
    with get_backend(backend).open(engine, RunSettings()) as session:
        runs = single_runs(session, SECONDS, probe)
    seen = readings(probe)()
    fields = (seen.usual_ns, seen.kept, seen.shared, seen.contended)
    print(json.dumps({"median_ms": median(runs) / 1e6, "core": fields}))


def summary(medians: list[float], took_s: list[float]) -> dict[str, float]:
    return {
        "median_ms": median(medians),
        "between_pct": 100 * stdev(map(log, medians)),
        "furthest_pct": 100 * (max(medians) / min(medians) - 1),
        "seconds": fmean(took_s),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--processes", type=int, default=12)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    parser.add_argument("--core-ns", type=float, default=0.0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
