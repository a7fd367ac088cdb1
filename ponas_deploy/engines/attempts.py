"""What is built next: the best network by tables that are corrected by what the clock said so far.

Two things say how far a table's predictions must be stretched. Before anything of it was timed, its own
certificate: the factor that keeps the asked share of networks under the budget (`trust.margin`). From the
first timing on, the residual: measured over predicted, of networks that share most of their blocks with the
next one, on the machine as it is now, so the latest counts most. That is worth more than the certificate's
scatter over unlike networks, so it takes the margin's place and leaves only the room that the noise of a
timing asks for, and a little more for every miss.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from math import exp, inf, log
from operator import mul
from statistics import median

from ponas_deploy.engines.attempt import MOST_ROOM_PCT, Attempt
from ponas_deploy.engines.reranker import DRAWN, Reranker
from ponas_deploy.engines.task import Task
from ponas_deploy.engines.verdict import CANNOT_BE_TOLD, why_not_told
from ponas_deploy.errors import BudgetError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.costs import LATENCY
from ponas_deploy.search.margins import with_margin_said
from ponas_deploy.search.specialize import Specialization
from ponas_deploy.tables.margin import Margin, margin
from ponas_deploy.tables.quality import reproducibility_pct
from ponas_deploy.tables.store import StoredTable

CAUTION_PCT = 0.5
"""The room that every miss asks for beyond the residual."""
FADING = 0.5
"""What a residual counts for beside the one after it: a machine that was busy at first is forgotten."""


@dataclass(frozen=True, slots=True)
class LatencyScale:
    """What a table's predictions are multiplied with: for what is expected, and to be on the safe side."""

    expected: float
    safe: float


def latency_scale(before: Sequence[Attempt], certified: Margin | None) -> LatencyScale:
    """The scale of a table, from the attempts `before` on it in order of time, or from its margin."""
    if not before:
        return LatencyScale(certified.typical, certified.factor) if certified else LatencyScale(1.0, 1.0)
    residuals = [log(attempt.measured_ms / attempt.choice.predicted_ms) for attempt in before]
    weights = [FADING**age for age in reversed(range(len(before)))]
    expected = exp(sum(map(mul, weights, residuals)) / sum(weights))
    # How far two timings lie apart: this one may have been the fast one.
    noise_pct = min(MOST_ROOM_PCT, median(attempt.noise_pct for attempt in before))
    misses = sum(not attempt.meets for attempt in before)
    return LatencyScale(expected, expected * (1 + (noise_pct + misses * CAUTION_PCT) / 100))


def next_attempt(
    task: Task, attempts: Sequence[Attempt], reranker: Reranker | None, *, measured: bool = True
) -> Attempt | None:
    """The best network not yet tried over all tables, None when there is none.

    Before anything was tried an impossible budget is a BudgetError, the most hopeful table's. Unless it
    will be `measured`, a network must fit with its margin.
    """
    found, refusals = list[Attempt](), list[BudgetError]()
    for stored in task.tables:
        before = _on_table(stored, attempts)
        certified = margin(stored.table, task.confidence, task.percentile)
        scale, reproducibility = latency_scale(before, certified), reproducibility_pct(stored.table)
        try:
            choices = _choices(task, stored, before, scale.safe, measured)
        except BudgetError as error:
            refusals.append(error if measured else with_margin_said(error, certified))
            continue
        tried = {attempt.choice.choices for attempt in before}
        for untried in (choice for choice in choices if choice.choices not in tried):
            plain_ms = stored.table.predict_ms(untried.choices)
            choice = replace(untried, budget=task.budget, predicted_ms=plain_ms)
            attempt = Attempt(len(attempts) + 1, stored, choice, plain_ms * scale.expected)
            found.append(
                replace(
                    attempt, percentile=task.percentile, margin=certified, reproducibility_pct=reproducibility
                )
            )
    if not found and not attempts and refusals:
        raise min(refusals, key=lambda error: inf if error.least is None else error.least)
    found = reranker.rerank(found) if reranker else found
    return min(found, key=lambda attempt: (attempt.objective, attempt.expected_ms), default=None)


def reconsider(attempts: Sequence[Attempt], best: Attempt | None, remeasured: Set[int]) -> Attempt | None:
    """One that missed the budget while the machine was slower, it seems: it is worth another measurement.

    Where a `best` met the budget: a better one that would meet it by all that is known now, once (those in
    `remeasured` were). Where none did: the fastest of those that meet it by their tables alone.
    """
    over = [attempt for attempt in attempts if not attempt.meets]
    if best is None:
        hopeful = [attempt for attempt in over if attempt.choice.predicted_ms <= _limit_ms(attempt)]
        return min(hopeful, key=lambda attempt: attempt.measured_ms, default=None)
    better = (
        attempt
        for attempt in over
        if attempt.number not in remeasured and attempt.objective < best.objective
        if attempt.choice.predicted_ms * latency_scale(_on_table(attempt.stored, attempts), None).safe
        <= _limit_ms(attempt)
    )
    return min(better, key=lambda attempt: attempt.objective, default=None)


def _limit_ms(attempt: Attempt) -> float:
    limit_ms = attempt.choice.budget.latency_ms
    return inf if limit_ms is None else limit_ms


def _on_table(stored: StoredTable, attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempts on a table, the one that was timed last at the end."""
    return sorted((one for one in attempts if one.stored == stored), key=lambda attempt: attempt.last_s)


def _choices(
    task: Task, stored: StoredTable, before: Sequence[Attempt], factor: float, measured: bool
) -> Sequence[Specialization]:
    """The best networks by a table times `factor`; where nothing fits, the fastest there is.

    BudgetError where the table alone says that nothing fits, or the limits together leave nothing.
    """
    table = stored.table.scaled(factor)
    try:
        return task.choose(table, max(len(before) + 1, task.shortlist * DRAWN))
    except BudgetError as error:
        if error.least is None or error.constraint != LATENCY.name or not (measured or before):
            raise
        if not before:
            task.choose(stored.table, 1)
        # By margin or residuals nothing fits: let the clock say so of the fastest network there is.
        return task.choose(table, 1, task.budget.with_limits(latency_ms=error.least))


def missed(budget: Budget, attempts: Sequence[Attempt]) -> BudgetError:
    """That no attempt met the budget, or that noise keeps anybody from telling; with the fastest latency."""
    asked, fastest = budget.latency_ms or 0.0, min(attempts, key=lambda attempt: attempt.measured_ms)
    least = fastest.measured_ms
    text = (
        f"no engine met {LATENCY.shown(asked)} in {len(attempts)} tries: the fastest one measured"
        f" {LATENCY.shown(least, up=True)}."
    )
    if fastest.verdict == CANNOT_BE_TOLD:
        why = why_not_told(least, asked, fastest.noise_pct)
        return BudgetError(f"{text} {why}", LATENCY.name, asked, least, cannot_be_told=True)
    return BudgetError(f"{text} Ask for that or more, or profile again.", LATENCY.name, asked, least)
