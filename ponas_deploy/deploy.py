"""From tables and a budget to an engine that was measured to meet it: the loop closes on measurement.

The best network over all tables of a device (one a backend and precision) is built and timed in fresh
processes. Where the clock disagrees with the table, the residual corrects that table, and the search
goes on, until the measured median meets the budget.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path
from statistics import fmean

from ponas_deploy.backends import RunSettings
from ponas_deploy.engines import Manifest, build, emit, refuse_existing, scratch_beside
from ponas_deploy.errors import BudgetError, PonasError
from ponas_deploy.specialize import Budget, Specialization, quantity, shortlist
from ponas_deploy.tables import AccuracyTable, Conditions, LatencyTable
from ponas_deploy.timing import EngineTiming, time_engine
from searchspace.architecture import Architecture
from searchspace.space import Space
from searchspace.weights import Weights

TRIES = 8
# Every miss on a table asks for this much more room than its mean residual.
_CAUTION_PCT = 0.5


@dataclass(frozen=True, slots=True)
class Attempt:
    """One network that was built and timed, or is about to be (`timing` None).

    `choice.predicted_ms` is what the table says by itself, `expected_ms` with the residuals of the
    attempts before.
    """

    number: int
    conditions: Conditions
    choice: Specialization
    expected_ms: float
    engine_file: str = ""
    timing: EngineTiming | None = None

    @property
    def measured_ms(self) -> float:
        """The measured median in milliseconds."""
        if self.timing is None:
            raise PonasError("this attempt was not measured yet.")
        return self.timing.percentile_ms(50)

    @property
    def meets(self) -> bool:
        """Whether the measured median is at or under the latency budget."""
        limit = self.choice.budget.latency_ms
        return limit is None or self.measured_ms <= limit


@dataclass(frozen=True, slots=True)
class Deployment:
    """The emitted engine and how it was found."""

    folder: Path
    manifest: Manifest
    chosen: Attempt
    attempts: tuple[Attempt, ...]


WeightsFor = Callable[[Architecture], Weights]
OnAttempt = Callable[[Attempt], None]


def deploy(
    tables: Sequence[LatencyTable],
    accuracy: AccuracyTable,
    budget: Budget,
    space: Space,
    folder: Path,
    *,
    manifest: Callable[[Attempt], Manifest],
    weights_for: WeightsFor,
    tries: int = TRIES,
    overwrite: bool = False,
    on_attempt: OnAttempt | None = None,
) -> Deployment:
    """Search, build, time, correct, until the measurement meets the budget; then emit the engine.

    `manifest` describes the engine of the chosen attempt. BudgetError when no network can meet the
    budget, by prediction or after `tries` measurements.
    """
    refuse_existing(folder, overwrite=overwrite)
    report = on_attempt or (lambda attempt: None)
    attempts: list[Attempt] = []
    best: Attempt | None = None
    with scratch_beside(folder) as scratch:
        while len(attempts) < tries:
            attempt = _next_attempt(tables, accuracy, budget, space, attempts)
            if attempt is None or (best and not _better(attempt, best)):
                break
            report(attempt)
            attempt = _measured(attempt, space, weights_for, scratch / str(attempt.number))
            report(attempt)
            attempts.append(attempt)
            if attempt.meets:
                best = attempt
        if best is None:
            raise _missed(budget, attempts)
        source = scratch / str(best.number)
        complete = emit(manifest(best), folder, lambda to: _move_all(source, to), overwrite=overwrite)
    return Deployment(folder, complete, best, tuple(attempts))


def _better(attempt: Attempt, best: Attempt) -> bool:
    return attempt.choice.predicted_loss_pp < best.choice.predicted_loss_pp


def _next_attempt(
    tables: Sequence[LatencyTable],
    accuracy: AccuracyTable,
    budget: Budget,
    space: Space,
    attempts: Sequence[Attempt],
) -> Attempt | None:
    """The best network not yet tried over all tables, None when there is none.

    Before anything was tried an impossible budget is a BudgetError, the most hopeful table's.
    """
    found, refusals = list[Attempt](), list[BudgetError]()
    for table in tables:
        before = [a for a in attempts if a.conditions == table.conditions]
        factor = _residual(before)
        try:
            choices = shortlist(table.scaled(factor), accuracy, budget, len(before) + 1, space=space)
        except BudgetError as error:
            refusals.append(error)
            if not before or error.least is None or error.constraint != "latency_ms":
                continue
            # By the residuals nothing fits: let the clock say so of the fastest network there is.
            choices = shortlist(table.scaled(factor), accuracy, Budget(error.least), 1, space=space)
        tried = {a.choice.choices for a in before}
        fresh = next((choice for choice in choices if choice.choices not in tried), None)
        if fresh is not None and table.conditions is not None:
            expected = fresh.predicted_ms
            plain = replace(fresh, budget=budget, predicted_ms=table.predict_ms(fresh.choices))
            found.append(Attempt(len(attempts) + 1, table.conditions, plain, expected))
    if not found and not attempts and refusals:
        raise min(refusals, key=lambda error: error.least if error.least is not None else float("inf"))
    return min(found, key=lambda a: (a.choice.predicted_loss_pp, a.expected_ms), default=None)


def _residual(attempts: Sequence[Attempt]) -> float:
    """Measured over predicted, the geometric mean of the attempts on one table; above it by each miss."""
    if not attempts:
        return 1.0
    mean = exp(fmean(log(a.measured_ms / a.choice.predicted_ms) for a in attempts))
    return mean * (1 + _CAUTION_PCT / 100 * sum(not a.meets for a in attempts))


def _measured(attempt: Attempt, space: Space, weights_for: WeightsFor, folder: Path) -> Attempt:
    architecture = Architecture(space, attempt.choice.choices)
    conditions = attempt.conditions
    folder.mkdir()
    engine = build(architecture, weights_for(architecture), conditions, folder)
    settings = RunSettings(conditions.precision, conditions.threads)
    timing = time_engine(engine, conditions.backend, settings)
    return replace(attempt, engine_file=engine.name, timing=timing)


def _missed(budget: Budget, attempts: Sequence[Attempt]) -> BudgetError:
    asked = budget.latency_ms or 0.0
    fastest = min(attempt.measured_ms for attempt in attempts)
    return BudgetError(
        f"no engine met {quantity('latency_ms', asked)} after {len(attempts)} tries: the fastest measured"
        f" {quantity('latency_ms', fastest, up=True)}. Ask for that or more, or profile again.",
        "latency_ms",
        asked,
        fastest,
    )


def _move_all(source: Path, target: Path) -> None:
    for path in source.iterdir():
        shutil.move(path, target / path.name)
