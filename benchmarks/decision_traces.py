"""The noise that `decisions.py` replays: timings of one engine, one after another, by the real `time_engine`.

    python benchmarks/decision_traces.py --seconds 300 --out traces.json

Recorded on the machine it runs on, beside processes of its own: `shared`, one that computes half of the
time, and `busy`, two that compute for minutes and rest for minutes. Of every process of a timing eleven
quantiles of its single inferences are kept. The file that is shipped was recorded beside other people's work
instead, and says so (`recorded`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from math import log
from pathlib import Path
from statistics import median, stdev
from time import monotonic, sleep

# `decisions.py` compares the code of two checkouts.
sys.path.insert(0, os.environ.get("PONAS_DECISIONS_CODE", str(Path(__file__).resolve().parents[1])))

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.engines.timing import EngineTiming, time_engine
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.trial import middle
from ponas_deploy.tables.measurement import quantile
from searchspace import build_space

RECORDED = Path(__file__).parent / "data" / "decision-traces.json"
QUANTILES = 11
SITUATIONS = {"shared": (1, 4.0), "busy": (2, 120.0)}
"""How many processes compute beside the timing, and for how long before they rest as long."""


@dataclass(frozen=True)
class Timing:
    """One call of `time_engine`: when it began and ended, and quantiles of its processes in milliseconds.

    `reference_ms` is what the reference network took in each of them; empty where it was not timed.
    """

    start_s: float
    end_s: float
    processes_ms: tuple[tuple[float, ...], ...]
    reference_ms: tuple[float, ...] = ()

    @property
    def median_ms(self) -> float:
        return median(value for process in self.processes_ms for value in process)


@dataclass(frozen=True)
class Trace:
    """The timings of one situation, in order of time, and the load of the machine at the end of each."""

    timings: tuple[Timing, ...]
    loads: tuple[float, ...]

    @property
    def usual_ms(self) -> float:
        """What the engine usually took: the median over the timings."""
        return median(one.median_ms for one in self.timings)

    @property
    def levels(self) -> tuple[float, ...]:
        """How slow the machine was at each timing, 1 as usual (the median)."""
        usual_ms = self.usual_ms
        return tuple(one.median_ms / usual_ms for one in self.timings)

    @property
    def deviation(self) -> float:
        """The standard deviation of the logarithms of the levels."""
        return stdev(map(log, self.levels))

    def scaled(self, deviation: float) -> Trace:
        """The same course with levels that lie so far apart: what is within a timing stays as it is."""
        power = deviation / self.deviation
        usual_ms = median(value for one in self.timings for value in one.reference_ms or (1.0,))
        timings = tuple(
            replace(
                one,
                processes_ms=tuple(
                    tuple(value * level ** (power - 1) for value in process) for process in one.processes_ms
                ),
                reference_ms=tuple(
                    value * (median(one.reference_ms) / usual_ms) ** (power - 1) for value in one.reference_ms
                ),
            )
            for one, level in zip(self.timings, self.levels, strict=True)
        )
        return replace(self, timings=timings)


def read_traces(path: Path = RECORDED) -> tuple[dict[str, str], dict[str, Trace]]:
    """What was recorded where, and the trace of each situation."""
    document = json.loads(path.read_text())
    traces = {
        name: Trace(
            tuple(
                Timing(
                    one["start_s"],
                    one["end_s"],
                    tuple(map(tuple, one["processes_ms"])),
                    tuple(one.get("reference_ms", ())),
                )
                for one in trace["timings"]
            ),
            tuple(trace["loads"]),
        )
        for name, trace in document["traces"].items()
    }
    return document["recorded"], traces


def main() -> None:
    options = arguments()
    traces = {}
    with tempfile.TemporaryDirectory() as folder:
        model = network_bytes(middle(build_space("ponas", options.resolution)), 1)
        engine = get_backend(options.backend).save(model, RunSettings(), Path(folder))[0]
        for name, (processes, stretch_s) in SITUATIONS.items():
            with computing(processes, stretch_s):
                traces[name] = recorded(engine, options.backend, options.seconds)
            print(f"{name}: {len(traces[name].timings)} timings, deviation {traces[name].deviation:.3f}")
    about = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{this_machine().name}, {os.cpu_count()} cores",
        "engine": f"the middle network of ponas, {options.resolution} px, {options.backend}, one thread",
    }
    text = json.dumps({"recorded": about, "traces": {name: asdict(one) for name, one in traces.items()}})
    options.out.write_text(text + "\n")


def recorded(engine: Path, backend: str, seconds: float) -> Trace:
    """Time an engine again and again for so long."""
    begin, timings, loads = monotonic(), list[Timing](), list[float]()
    while monotonic() - begin < seconds:
        start = monotonic()
        timing = time_engine(engine, backend, RunSettings())
        timings.append(_timing(timing, start - begin, monotonic() - begin))
        loads.append(round(os.getloadavg()[0], 2))
    return Trace(tuple(timings), tuple(loads))


def _timing(timing: EngineTiming, start_s: float, end_s: float) -> Timing:
    places = [(place + 0.5) / QUANTILES for place in range(QUANTILES)]
    return Timing(
        round(start_s, 2),
        round(end_s, 2),
        tuple(
            tuple(round(quantile(tuple(map(float, process)), place) / 1e6, 4) for place in places)
            for process in timing.processes_ns
        ),
        tuple(round(taken / 1e6, 4) for taken in timing.reference.processes_ns) if timing.reference else (),
    )


@contextmanager
def computing(processes: int, stretch_s: float) -> Iterator[None]:
    """So many processes that compute and rest in turn while something else goes on."""
    started = [
        multiprocessing.Process(target=_compute, args=(stretch_s,), daemon=True) for _ in range(processes)
    ]
    for process in started:
        process.start()
    try:
        yield
    finally:
        for process in started:
            process.terminate()
            process.join()


def _compute(stretch_s: float) -> None:
    while True:
        end = monotonic() + stretch_s
        while monotonic() < end:
            sum(range(1000))
        sleep(stretch_s)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--out", type=Path, default=RECORDED)
    return parser.parse_args()


if __name__ == "__main__":
    main()
