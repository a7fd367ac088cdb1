"""Are budgets met and used, and do they hold later? Engines for budgets over the range, verified at the end.

    python benchmarks/promises.py
    python benchmarks/promises.py --backend openvino --precision bf16 --budgets 20 --resolution 224

The table is this machine's from your store (`ponas profile`), or is made first. Every engine is emitted as
`ponas specialize --device cpu` does it; when all are there, `ponas verify` measures each of them, so that
minutes lie between promise and verification. A table for people, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ponas_deploy.checks.engine import verify
from ponas_deploy.engines.loop import Deployment, Task, meet_budget, random_source
from ponas_deploy.errors import BudgetError
from ponas_deploy.profiling import making, serving_tables
from ponas_deploy.profiling.target import Target
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.pareto import front
from ponas_deploy.tables import store
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.store import StoredTable
from searchspace import build_space


@dataclass(frozen=True)
class Promise:
    """One budget: how it was met, and what `verify` measured later.

    `best_there_is`: no network has less loss by the tables, so that nothing could use the budget up.
    """

    budget_ms: float
    first_try_met: bool
    first_over_predicted: float
    tries: int
    seconds: float
    used: float
    noise_floor_pct: float
    loss_pp: float
    best_there_is: bool
    later_ms: float
    minutes_later: float
    over_printed_floor: bool
    verified: bool


def main() -> None:
    options = arguments()
    space = build_space("ponas", options.resolution)
    target = Target("cpu", (options.backend,), (options.precision,), options.threads)
    tables = serving_tables.serving(target, space)
    for conditions in making.missing(target, tables):
        tables = (
            *tables,
            making.make_table(conditions, space, time_budget_s=options.time, overwrite=True),
        )
    stored, accuracy = tables[0], store.accuracy_table(options.accuracy)
    print(f"{stored.made_on}\n")
    with tempfile.TemporaryDirectory() as folder:
        emitted: list[tuple[Deployment, float, float]] = []
        for number, budget_ms in enumerate(budgets(stored, accuracy.table, options.budgets)):
            task = Task(
                (stored,),
                accuracy,
                Budget(latency_ms=budget_ms),
                space,
                random_source(),
                confidence=options.confidence,
                percentile=options.percentile,
            )
            start = time.monotonic()
            try:
                done = meet_budget(task, Path(folder) / str(number))
            except BudgetError as error:
                print(error, file=sys.stderr)
                continue
            emitted.append((done, time.monotonic() - start, time.monotonic()))
        least_pp = float(front(stored.table, accuracy.table).loss[-1])
        found = [verified(*one, least_pp) for one in emitted]
    show(found, options.budgets)
    print(json.dumps({**summary(found, options.budgets), "promises": [asdict(one) for one in found]}))


def budgets(stored: StoredTable, accuracy: AccuracyTable, count: int) -> list[float]:
    """Spread over the front, its ends left out."""
    cost = front(stored.table, accuracy).cost
    least, most = float(cost[0]), float(cost[-1])
    return [least + (most - least) * (number + 1) / (count + 1) for number in range(count)]


def verified(done: Deployment, seconds: float, emitted_s: float, least_pp: float) -> Promise:
    """What a deployed engine promised, and what it takes now."""
    found = verify(done.folder)
    manifest = found.manifest
    limit, percentile = done.chosen.choice.budget.latency_ms, done.manifest.percentile
    assert limit is not None
    assert found.timing is not None
    assert manifest.measured is not None
    later_ms = found.timing.percentile_ms(percentile)
    return Promise(
        limit,
        done.attempts[0].meets,
        done.attempts[0].measured_ms / done.attempts[0].choice.predicted_ms,
        len(done.attempts),
        seconds,
        done.chosen.measured_ms / limit,
        manifest.measured.noise_pct(percentile),
        done.chosen.choice.predicted_loss_pp,
        done.chosen.choice.predicted_loss_pp <= least_pp,
        later_ms,
        (time.monotonic() - emitted_s) / 60,
        later_ms > limit * (1 + manifest.measured.noise_pct(percentile) / 100),
        found.meets_budget,
    )


def summary(found: list[Promise], asked: int) -> dict[str, float]:
    """`median_used` is over the budgets that a better network could have used."""
    usable = [one.used for one in found if not one.best_there_is]
    return {
        "asked": asked,
        "emitted": len(found),
        "median_first_over_predicted": median(one.first_over_predicted for one in found),
        "first_try_met": sum(one.first_try_met for one in found),
        "best_there_is": len(found) - len(usable),
        "median_used": median(usable) if usable else 1.0,
        "median_noise_floor_pct": median(one.noise_floor_pct for one in found),
        "median_seconds": median(one.seconds for one in found),
        "at_or_under_later": sum(one.later_ms <= one.budget_ms for one in found),
        "over_printed_floor": sum(one.over_printed_floor for one in found),
        "verified": sum(one.verified for one in found),
    }


def show(found: list[Promise], asked: int) -> None:
    print("budget ms  first try  tries  seconds  used  floor %  loss pp  later ms  after min  verified")
    for one in found:
        mark = "*" if one.best_there_is else " "
        print(
            f"{one.budget_ms:9.4g}  {'met' if one.first_try_met else 'over':>9}  {one.tries:5}"
            f"  {one.seconds:7.0f}  {100 * one.used:3.0f}%{mark} {one.noise_floor_pct:7.1f}"
            f"  {one.loss_pp:7.2f}  {one.later_ms:8.4g}  {one.minutes_later:9.1f}"
            f"  {'yes' if one.verified else 'NO':>8}"
        )
    print("* no network has less loss")
    for name, value in summary(found, asked).items():
        print(f"{name.replace('_', ' ')}: {value:.4g}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--budgets", type=int, default=10)
    parser.add_argument("--percentile", type=int, default=50)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--time", type=float, default=60, help="seconds for the table, if it is missing")
    parser.add_argument("--accuracy", default="accuracy/ponas")
    return parser.parse_args()


if __name__ == "__main__":
    main()
