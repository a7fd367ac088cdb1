"""What the search decides under noise: recorded noise is replayed over the shipped tables.

    python benchmarks/decisions.py
    python benchmarks/decisions.py --before PATH    PATH: a checkout of the code to compare with
    python benchmarks/decisions.py --noise calm shared --budgets 40 --seed 5

The search is the real one (`engines.search.Search`); only its clock, its builds and its timings are replaced.

**Truth.** A network takes what the table says, with every cell off by a factor of its own: normal, and so
wide that the certificate's check networks scatter as the certificate says. So networks that share blocks
share residuals, and the best network that there is can be computed.

**Noise.** A timing takes the truth times what the recorded timing of that moment took over the usual (the
median of the trace), process by process. Recorded: `calm`, the rounds of the whole networks in the table
itself (a round is one timing of 4 s, three networks of it its processes, three others stand for the reference
network); `shared`, two cores on which others computed for part of the time, engine and reference network as
the real clock took them (`data/decision-traces.json`). Scaled: `wander` is that trace, its levels raised
to a power so that two moments lie within 15 or 40 % of each other in 95 of 100 cases, and `regimes` a
recorded trace of two cores that were overloaded for minutes and free for minutes (levels of 1 to 3), scaled
to the same.
A trace that ends begins again. The table knows the noise as its profile would: its levels are those
of the trace, its check networks took the median of ten moments.

The budgets are spread over the fronts of the shipped tables, one table after another.

**Figures.** A network *truly meets* a budget when it takes at most that at the machine's own level, the
median of a trace. `regret` is the loss of the choice over that of the best network that truly meets, `used`
what the choice truly takes over the budget (capped at 1), `missed later` where the median of the timings from
one minute after the search to four minutes after it is over the budget, `later timings over` the share of
those timings, `none` where the search found no engine. A table for people, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from math import exp, log, pi, sqrt
from pathlib import Path
from statistics import NormalDist, fmean, median, stdev

sys.path.append(str(Path(__file__).resolve().parent))  # its profile.py must not hide Python's

from decision_traces import Timing, Trace, read_traces

from ponas_deploy.engines import search as searching
from ponas_deploy.engines.reference import ReferenceTiming
from ponas_deploy.engines.search import Search
from ponas_deploy.engines.task import Task, WeightsSource
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.errors import BudgetError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.pareto import front
from ponas_deploy.search.specialize import specialize
from ponas_deploy.tables.files import load_accuracy_table, load_latency_table
from ponas_deploy.tables.latency import LatencyTable, NetworkLatency
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.store import StoredAccuracy, StoredTable
from searchspace.architecture import Architecture
from searchspace.spaces import build_space

PROFILES = Path(__file__).resolve().parents[1] / "profiles"
BUILD_S = 1.0
"""What a build takes on the replayed clock."""
LATER_S = (60.0, 240.0)
PROFILED_MOMENTS = 10
"""Rounds of the check networks of a profile that noise made short."""
NOISES = {
    "calm": ("", 0),
    "shared": ("shared", 0),
    "wander 15 %": ("shared", 15),
    "wander 40 %": ("shared", 40),
    "regimes 15 %": ("busy", 15),
    "regimes 40 %": ("busy", 40),
}
"""The trace of each noise, and in percent how far two moments lie apart where it is scaled."""
_PAIR = sqrt(2) * NormalDist().inv_cdf(0.975)
"""Two moments lie within so many standard deviations of each other in 95 of 100 cases."""


@dataclass(frozen=True)
class Decision:
    """What came of one budget; `none` where no engine was found, and then the rest is 0."""

    budget_ms: float
    none: bool = False
    tries: int = 0
    timings: int = 0
    seconds: float = 0.0
    loss_pp: float = 0.0
    regret_pp: float = 0.0
    used: float = 0.0
    missed: bool = False
    later_over: float = 0.0


@dataclass
class Replay:
    """The machine of one trace: a clock that moves with builds and timings, and what each network takes."""

    trace: Trace
    truth: LatencyTable
    now_s: float
    networks: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    timings: int = 0

    def build(
        self, architecture: Architecture, weights: object, conditions: object, folder: Path, *_: object
    ) -> Path:
        self.now_s += BUILD_S
        self.networks[folder / "engine"] = architecture.choices
        return folder / "engine"

    def time_engine(self, engine: Path, *_: object, **__: object) -> EngineTiming:
        timing = self._at(self.now_s)
        true_ns = 1e6 * self.truth.predict_ms(self.networks[engine])
        usual_ms = self.trace.usual_ms
        start_s = self.now_s
        self.now_s += timing.end_s - timing.start_s
        self.timings += 1
        processes = tuple(
            tuple(round(true_ns * value / usual_ms) for value in process) for process in timing.processes_ms
        )
        starts_s = tuple(start_s + place for place in range(len(processes)))
        reference = tuple(1e6 * value for value in timing.reference_ms)
        beside = ReferenceTiming("replayed", reference) if reference else None
        return EngineTiming(processes, starts_s, reference=beside)

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def later_levels(self) -> list[float]:
        """The machine's level at every timing of the minutes that come later."""
        begin, end = (self.now_s + seconds for seconds in LATER_S)
        found, at = [], begin
        while at < end:
            timing = self._at(at)
            found.append(timing.median_ms / self.trace.usual_ms)
            at += timing.end_s - timing.start_s
        return found

    def _at(self, moment_s: float) -> Timing:
        moment_s %= self.trace.timings[-1].end_s
        return next(one for one in self.trace.timings if one.end_s > moment_s)


def main() -> None:
    options = arguments()
    found = {"after": decided(options)}
    if options.before:
        found = {"before": _elsewhere(options), **found}
    recorded, _ = read_traces()
    print(f"{options.budgets} budgets each; traces of {recorded['date']}, {recorded['machine']}")
    show(found)
    document = {
        name: {noise: [asdict(one) for one in these] for noise, these in decisions.items()}
        for name, decisions in found.items()
    }
    print(json.dumps(document))


def decided(options: argparse.Namespace) -> dict[str, list[Decision]]:
    """The decisions at each noise."""
    path = PROFILES / "accuracy" / "ponas.json"
    accuracy = StoredAccuracy(path, load_accuracy_table(path))
    tables = [_stored(name) for name in options.tables or _shipped()]
    return {
        noise: [
            _decision(noise, tables[number % len(tables)], accuracy, number, options)
            for number in range(options.budgets)
        ]
        for noise in options.noise or NOISES
    }


def _trace(noise: str, table: LatencyTable) -> Trace:
    """What is replayed as a noise."""
    if noise == "calm":
        return calm(table)
    _, traces = read_traces()
    name, apart_pct = NOISES[noise]
    return traces[name].scaled(apart_pct / 100 / _PAIR) if apart_pct else traces[name]


def calm(table: LatencyTable) -> Trace:
    """The rounds of a table's whole networks as timings, in order of time; three networks are processes."""
    parts = (table.certificate, table.correction)
    networks = [network for part in parts if part for network in part.networks]
    usual = [median(network.measurement.rounds_ns) for network in networks]
    count = min(len(network.measurement.rounds_ns) for network in networks)
    seconds, draw = 4.0, random.Random(0)
    timings = []
    for number in range(count):
        taken = [one.measurement.rounds_ns[number] / own for one, own in zip(networks, usual, strict=True)]
        drawn = draw.sample(taken, 6)
        processes, reference = tuple((value,) for value in drawn[:3]), tuple(drawn[3:])
        timings.append(Timing(number * seconds, (number + 1) * seconds, processes, reference))
    return Trace(tuple(timings), ())


def _decision(
    noise: str, stored: StoredTable, accuracy: StoredAccuracy, number: int, options: argparse.Namespace
) -> Decision:
    """The decision for the budget of a number, on the front of a table."""
    draw, trace = random.Random(f"{options.seed} {number}"), _trace(noise, stored.table)
    truth = true_table(stored.table, draw)
    table = stored.table
    table = with_truth(table, truth) if noise == "calm" else profiled(table, truth, trace, draw)
    cost = front(stored.table, accuracy.table).cost
    least, most = float(cost[0]), float(cost[-1])
    budget_ms = least + (most - least) * (number + 1) / (options.budgets + 1)
    replay = Replay(trace, truth, draw.uniform(0, trace.timings[-1].end_s))
    return decision(replace(stored, table=table), accuracy, budget_ms, replay)


def true_table(table: LatencyTable, draw: random.Random) -> LatencyTable:
    """The table with every cell off by a factor, so that check networks scatter as the certificate says."""
    assert table.certificate
    networks = table.certificate.networks
    wanted = stdev(log(one.measured_ms / one.predicted_ms) for one in networks)
    off = [[draw.gauss(0, 1) for _ in row] for row in table.grid.values]

    def cells(size: float) -> LatencyTable:
        values = tuple(
            tuple(value * exp(size * one) for value, one in zip(row, these, strict=True))
            for row, these in zip(table.grid.values, off, strict=True)
        )
        return replace(table, grid=replace(table.grid, values=values))

    trial, size = cells(0.01), 0.01
    ratios = [log(trial.predict_ms(one.choices) / table.predict_ms(one.choices)) for one in networks]
    return cells(size * wanted / stdev(ratios))


def with_truth(table: LatencyTable, truth: LatencyTable, levels: Sequence[float] = (1.0,)) -> LatencyTable:
    """The table with a certificate of what is true, each check network at one of the levels in turn."""
    assert table.certificate
    networks = tuple(
        _checked(one, table, truth, levels[number % len(levels)])
        for number, one in enumerate(table.certificate.networks)
    )
    return replace(table, certificate=replace(table.certificate, networks=networks))


def _checked(one: NetworkLatency, table: LatencyTable, truth: LatencyTable, level: float) -> NetworkLatency:
    measured_ms, predicted_ms = truth.predict_ms(one.choices) * level, table.predict_ms(one.choices)
    rounds = Measurement(1, (measured_ms * 1e6,))
    return replace(one, measured_ms=measured_ms, predicted_ms=predicted_ms, measurement=rounds)


def profiled(table: LatencyTable, truth: LatencyTable, trace: Trace, draw: random.Random) -> LatencyTable:
    """The table as a profile in that noise would have left it: levels, check networks, noise floor."""
    assert table.certificate
    levels = trace.levels
    middles = [median(draw.choices(levels, k=PROFILED_MOMENTS)) for _ in table.certificate.networks]
    half = stdev(map(log, levels)) / sqrt(PROFILED_MOMENTS / 2)
    seen = with_truth(table, truth, middles)
    assert seen.certificate
    certificate = replace(seen.certificate, noise_floor_pct=100 * 2 / sqrt(pi) * half)
    rounds = Measurement(1, (1e6,) * len(levels), levels)
    return replace(seen, certificate=certificate, correction=None, measurements=(("machine", rounds),))


def decision(stored: StoredTable, accuracy: StoredAccuracy, budget_ms: float, replay: Replay) -> Decision:
    """Search for one budget, and what the choice is worth by the truth."""
    table = stored.table
    assert table.space
    space = build_space(table.space.name, table.space.resolution, table.space.classes)
    weights = WeightsSource("replayed", lambda architecture: {}, trained=False)
    task = Task((stored,), accuracy, Budget(latency_ms=budget_ms), space, weights)
    begin = replay.now_s
    with tempfile.TemporaryDirectory() as folder, Replayed(replay):
        search = Search(task, None, Path(folder), lambda attempt: None, lambda text: None, None)
        try:
            best = search.run(8, 30.0)
        except BudgetError:
            return Decision(budget_ms, True, len(search.attempts), replay.timings, replay.now_s - begin)
    true_ms = replay.truth.predict_ms(best.choice.choices)
    ideal = specialize(replay.truth, accuracy.table, Budget(latency_ms=budget_ms), space=space)
    later = replay.later_levels()
    return Decision(
        budget_ms,
        False,
        len(search.attempts),
        replay.timings,
        replay.now_s - begin,
        best.choice.predicted_loss_pp,
        max(0.0, best.choice.predicted_loss_pp - ideal.predicted_loss_pp),
        true_ms / budget_ms,
        true_ms * median(later) > budget_ms,
        fmean(true_ms * level > budget_ms for level in later),
    )


class Replayed:
    """The search's clock, builds and timings are those of a replay while this is entered."""

    def __init__(self, replay: Replay) -> None:
        self._names = ("build", "time_engine", "monotonic", "sleep")
        self._real = {name: getattr(searching, name) for name in self._names}
        self._replay = replay

    def __enter__(self) -> None:
        for name in self._names:
            setattr(searching, name, getattr(self._replay, name))

    def __exit__(self, *_: object) -> None:
        for name, real in self._real.items():
            setattr(searching, name, real)


def show(found: dict[str, dict[str, list[Decision]]]) -> None:
    print(
        f"{'noise':13} {'':7} {'none':>5} {'regret pp':>10} {'worst':>6} {'missed later':>13}"
        f" {'later timings over':>19} {'used':>6} {'tries':>6} {'timings':>8} {'seconds':>8}"
    )
    for noise in next(iter(found.values())):
        for name, decisions in found.items():
            print(f"{noise:13} {name:7} {summary(decisions[noise])}")


def summary(decisions: Sequence[Decision]) -> str:
    """One row: medians, but for the worst regret and the shares."""
    there = [one for one in decisions if not one.none]
    if not there:
        return f"{len(decisions):5}"
    regret = [one.regret_pp for one in there]
    missed = sum(one.missed for one in there)
    return (
        f"{len(decisions) - len(there):5} {median(regret):10.2f} {max(regret):6.2f}"
        f" {f'{missed} of {len(there)}':>13} {100 * fmean(one.later_over for one in there):17.0f} %"
        f" {100 * median(min(1, one.used) for one in there):4.1f} % {median(one.tries for one in there):5.0f}"
        f" {median(one.timings for one in there):8.0f} {median(one.seconds for one in there):8.0f}"
    )


def _elsewhere(options: argparse.Namespace) -> dict[str, list[Decision]]:
    """The decisions of the code of another checkout."""
    given = ["--budgets", str(options.budgets), "--seed", str(options.seed)]
    given += ["--tables", *options.tables] if options.tables else []
    given += ["--noise", *options.noise] if options.noise else []
    environment = {**os.environ, "PONAS_DECISIONS_CODE": str(options.before.resolve()), "PYTHONPATH": ""}
    command = [sys.executable, __file__, *given]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    document = json.loads(done.stdout.splitlines()[-1])["after"]
    return {noise: [Decision(**one) for one in these] for noise, these in document.items()}


def _shipped() -> list[str]:
    """The names of the shipped latency tables."""
    folder = PROFILES / "latency"
    return [path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.rglob("*.json"))]


def _stored(name: str) -> StoredTable:
    path = PROFILES / "latency" / f"{name}.json"
    return StoredTable(path, load_latency_table(path))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="*", default=[], help="shipped latency tables; all without")
    parser.add_argument("--budgets", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", nargs="*", default=[], choices=NOISES, help="only these")
    parser.add_argument("--before", type=Path, default=None, help="a checkout to compare with")
    return parser.parse_args()


if __name__ == "__main__":
    main()
