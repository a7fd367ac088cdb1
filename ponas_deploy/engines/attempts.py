"""What is built next, and which of those built is the best: `decision`, applied to tables and timings.

Before anything of a table was timed, its certificate says by how much its predictions are off. From the first
timing on, the residual does: measured over predicted, of networks that share most of their blocks with the
next one, on the machine as it is now, so the latest counts most. Both count as much as they are certain.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from math import inf, sqrt
from statistics import median

from ponas_deploy.engines import decision
from ponas_deploy.engines.attempt import Attempt
from ponas_deploy.engines.checked import TITLES, corrected, shown
from ponas_deploy.engines.decision import (
    Estimate,
    Observation,
    TableFactor,
    cost_pp,
    gain_pp,
    middle_of,
    timed,
    untimed,
)
from ponas_deploy.engines.reranker import DRAWN, Choices, Reranker
from ponas_deploy.engines.task import Task
from ponas_deploy.engines.verdict import CANNOT_BE_TOLD, why_not_told
from ponas_deploy.errors import BudgetError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.costs import LATENCY
from ponas_deploy.search.margins import with_margin_said
from ponas_deploy.search.specialize import Specialization
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.margin import Margin, margin
from ponas_deploy.tables.quality import reproducibility_pct
from ponas_deploy.tables.store import StoredTable

LEAST_GAIN_PP = 0.1
"""A network from which less is expected is not built."""
USED_PCT = 85.0
"""A search whose best engine uses less of the budget, while better ones may fit, is not over."""
_ROOMS = (3.0, 2.0, 1.25, 0.6, 0.0)
"""How many standard deviations of what is expected the networks that are looked at stay below the budget."""
_ONE_ROOM = (1.5,)
"""The same where a network is expensive to find: by evaluating images, or by a genetic algorithm."""
_NEARLY = 1.05
"""Where not even the fastest network is expected to fit, those that take so much longer are tried too."""
_NARROWEST = 1.02
"""Latencies that lie no further apart are not bisected any more."""


def best_of(attempts: Sequence[Attempt]) -> Attempt | None:
    """The one to choose: of those that met the budget the one that costs least (`decision`)."""
    met = (attempt for attempt in attempts if attempt.meets)
    return min(met, key=lambda one: (cost_of(one, attempts), one.objective), default=None)


def cost_of(attempt: Attempt, attempts: Sequence[Attempt]) -> float:
    """What one that was timed costs: its loss, and its probability of missing the budget later."""
    return cost_pp(attempt.lost_pp, missing(attempt, attempts))


def missing(attempt: Attempt, attempts: Sequence[Attempt]) -> float:
    """The probability that one that was timed misses the budget on the machine as it usually is."""
    return decision.missing(_known(attempt, attempts), _limit_ms(attempt))


def _known(attempt: Attempt, attempts: Sequence[Attempt]) -> Estimate:
    """What one that was timed takes on the machine as it usually is, in milliseconds."""
    on_table = _on_table(attempt.stored, attempts)
    seen, common = _observed(on_table)
    own = next(place for place, one in enumerate(on_table) if one.number == attempt.number)
    known = timed(_certified(attempt.margin), [*seen[:own], *seen[own + 1 :]], seen[own], common)
    return known.times(attempt.choice.predicted_ms)


def _certified(found: Margin | None) -> TableFactor:
    return TableFactor(found.typical, found.scatter_pct / 100) if found else TableFactor()


def _observed(attempts: Sequence[Attempt]) -> tuple[list[Observation], float]:
    """What was seen of a table, and how far all of it may be off together.

    Where the reference network was timed with each, what a moment did to both is taken out, and how far what
    it took over all these moments is from usual stays. Else each is as far off as its own moments were.
    """
    beside = [one.beside_reference for one in attempts]
    reference_ns = [taken for one in attempts for taken in one.reference_ns]
    if not attempts or None in beside:
        return [Observation(one.residual, one.deviation) for one in attempts], 0.0
    usual = middle_of(reference_ns)
    seen = [
        Observation(found.value * usual.value / 1e6 / one.choice.predicted_ms, found.deviation)
        for found, one in zip(beside, attempts, strict=True)
        if found
    ]
    timings = sum(one.timings for one in attempts)
    # What was seen of the machine's speed so far takes the place of what its table says of it.
    off = usual.deviation * sqrt(len(reference_ns) / timings)
    return seen, max(off, median(one.moments for one in attempts) / timings)


def next_attempt(
    task: Task, attempts: Sequence[Attempt], reranker: Reranker | None, *, measured: bool = True
) -> Attempt | None:
    """The network not yet tried, over all tables, from which most is expected; None when that is too little.

    Before anything was tried an impossible budget is a BudgetError, the most hopeful table's. Unless it
    will be `measured`, a network must fit with its margin.
    """
    found, refusals = list[Attempt](), list[BudgetError]()
    for stored in task.tables:
        try:
            found += _untried(task.of(stored), stored, attempts, measured)
        except BudgetError as error:
            certified = margin(stored.table, task.confidence, task.percentile)
            refusals.append(error if measured else with_margin_said(error, certified))
    if not found and not attempts and refusals:
        raise min(refusals, key=lambda error: inf if error.least is None else error.least)
    found = reranker.rerank(found) if reranker else found
    if not measured:
        return min(found, key=lambda attempt: (attempt.objective, attempt.expected_ms), default=None)
    return _most_promising(found, attempts) or _between(task, attempts)


def _most_promising(found: Sequence[Attempt], attempts: Sequence[Attempt]) -> Attempt | None:
    """The one with the largest expected gain over the best so far; where none met the budget, over none.

    Where nothing is gained and none met the budget, it is the fastest there is, unless that was tried.
    """
    best = best_of(attempts)
    now_pp = cost_of(best, attempts) if best else cost_pp(max((one.lost_pp for one in found), default=0.0), 1)
    gains = [(_gain_pp(one, now_pp, attempts), one) for one in found]
    hopeful = [(gain, one) for gain, one in gains if gain > LEAST_GAIN_PP]
    if hopeful or best:
        return max(hopeful, key=lambda pair: (pair[0], -pair[1].expected_ms), default=(0.0, None))[1]
    fastest = min(found, key=lambda one: one.choice.predicted_ms, default=None)
    tried = (one.choice.predicted_ms for one in attempts)
    return fastest if fastest and fastest.choice.predicted_ms < min(tried, default=inf) else None


def _gain_pp(one: Attempt, now_pp: float, attempts: Sequence[Attempt]) -> float:
    """What a timing of a network gains, by its table and the table's residual of now."""
    expected = _expected(one.stored, one.margin, attempts).times(one.choice.predicted_ms)
    seen, common = _observed(_on_table(one.stored, attempts))
    noise = median([*(other.noise for other in seen), *([] if common else [one.moments])])
    return gain_pp(now_pp, one.lost_pp, expected, _limit_ms(one), noise)


def _expected(stored: StoredTable, certified: Margin | None, attempts: Sequence[Attempt]) -> Estimate:
    """Measured over predicted of the next network of a table."""
    return untimed(_certified(certified), *_observed(_on_table(stored, attempts)))


def _untried(task: Task, stored: StoredTable, attempts: Sequence[Attempt], measured: bool) -> list[Attempt]:
    """Networks of a table that were not tried, for several rooms below the budget, each once.

    BudgetError where the table alone says that nothing fits, or the limits together leave nothing.
    """
    certified = margin(stored.table, task.confidence, task.percentile)
    expected = _expected(stored, certified, attempts)
    tried = {attempt.choice.choices for attempt in _on_table(stored, attempts)}
    if not measured:
        scales = [certified.factor if certified else 1.0]
    else:
        scales = [expected.quantile(room) for room in (_ROOMS if _is_cheap(task) else _ONE_ROOM)]
    limits = _searched_budget(task, stored, attempts)
    found = {one.choices: one for one in _choices(task, stored, tried, scales, measured, limits)}
    reproducibility = reproducibility_pct(stored.table)
    return [
        _attempt(task, stored, one, expected.value, len(attempts) + 1, certified, reproducibility)
        for one in found.values()
    ]


def _searched_budget(task: Task, stored: StoredTable, attempts: Sequence[Attempt]) -> Budget:
    """The budget, with what engines of a table took of checked costs in it."""
    return corrected(task.budget, [one.checked for one in _on_table(stored, attempts)])


def _is_cheap(task: Task) -> bool:
    """Whether a network is found in no time: without images to evaluate, or a genetic algorithm to run."""
    return task.method == "exact" and not task.shortlist


def _attempt(
    task: Task,
    stored: StoredTable,
    untried: Specialization,
    factor: float,
    number: int,
    certified: Margin | None,
    reproducibility: float,
) -> Attempt:
    """A network about to be built; its prediction is the table's own, whatever it was chosen by."""
    plain_ms = stored.table.predict_ms(untried.choices)
    return Attempt(
        number,
        stored,
        replace(untried, budget=task.budget, predicted_ms=plain_ms),
        plain_ms * factor,
        percentile=task.percentile,
        margin=certified,
        reproducibility_pct=reproducibility,
        precision_pp=task.accuracy.table.precision_pp,
    )


def _between(task: Task, attempts: Sequence[Attempt]) -> Attempt | None:
    """Where the best one uses little of the budget: a network halfway to the budget's edge, by the table.

    The edge is the fastest one above it that missed, or the budget by the residual of the best one.
    None where nothing better lies in between.
    """
    best = best_of(attempts)
    if best is None or not _is_cheap(task) or best.used_pct >= USED_PCT:
        return None
    low_ms = best.choice.predicted_ms
    over = [one.choice.predicted_ms for one in _on_table(best.stored, attempts) if not one.is_in_time]
    edge_ms = min((one for one in over if one > low_ms), default=low_ms * 100 / best.used_pct)
    if edge_ms < low_ms * _NARROWEST:
        return None
    task = task.of(best.stored)
    searched = _searched_budget(task, best.stored, attempts)
    halfway = searched.with_limits(latency_ms=sqrt(low_ms * edge_ms))
    tried = {attempt.choice.choices for attempt in _on_table(best.stored, attempts)}
    found = _best_untried(task, best.stored.table, tried, halfway)
    if not found or found[0].compared_pp >= best.lost_pp:
        return None
    factor, number = _expected(best.stored, best.margin, attempts).value, len(attempts) + 1
    return _attempt(task, best.stored, found[0], factor, number, best.margin, best.reproducibility_pct)


def reconsider(attempts: Sequence[Attempt], best: Attempt | None, remeasured: Set[int]) -> Attempt | None:
    """One that missed the budget while the machine was slower, it seems: it is worth another measurement.

    Where a `best` met the budget: the one from which most is expected by all that is known now, once (those
    in `remeasured` were). Where none did: the fastest of those that meet it by their tables alone.
    """
    over = [attempt for attempt in attempts if not (attempt.is_in_time or attempt.over)]
    if best is None:
        hopeful = [attempt for attempt in over if _by_table_ms(attempt) <= _limit_ms(attempt)]
        return min(hopeful, key=lambda attempt: attempt.measured_ms, default=None)
    now_pp = cost_of(best, attempts)
    gains = {one.number: _gain_pp(one, now_pp, attempts) for one in over if one.number not in remeasured}
    most = max(gains, key=gains.__getitem__, default=0)
    return attempts[most - 1] if most and gains[most] > LEAST_GAIN_PP else None


def _by_table_ms(attempt: Attempt) -> float:
    """What an attempt takes by its table and the table's certificate."""
    typical = attempt.margin.typical if attempt.margin else 1.0
    return typical * attempt.choice.predicted_ms


def _limit_ms(attempt: Attempt) -> float:
    limit_ms = attempt.choice.budget.latency_ms
    return inf if limit_ms is None else limit_ms


def _on_table(stored: StoredTable, attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempts on a table, the one that was timed last at the end."""
    return sorted((one for one in attempts if one.stored == stored), key=lambda attempt: attempt.last_s)


def _choices(
    task: Task,
    stored: StoredTable,
    tried: Set[Choices],
    scales: Sequence[float],
    measured: bool,
    budget: Budget,
) -> list[Specialization]:
    """The best untried networks by a table times each of `scales`; where nothing fits, the fastest."""
    found, refused = list[Specialization](), None
    for scale in scales:
        try:
            found += _best_untried(task, stored.table.scaled(scale), tried, budget)
        except BudgetError as error:
            refused = error
    if found or refused is None:
        return found
    if refused.least is None or refused.constraint != LATENCY.name or not (measured or tried):
        raise refused
    if not tried:
        task.choose(stored.table, 1, budget)
    # By margin or residuals nothing fits: let the clock say so of the fastest network there is, and of others
    # that are nearly as fast.
    slower = (1.0, _NEARLY) if tried else (1.0,)
    nearly = (budget.with_limits(latency_ms=refused.least * factor) for factor in slower)
    table = stored.table.scaled(scales[-1])
    return [one for least in nearly for one in _best_untried(task, table, tried, least)]


def _best_untried(
    task: Task, table: LatencyTable, tried: Set[Choices], budget: Budget
) -> Sequence[Specialization]:
    """The best network that was not tried, or as many as a shortlist is drawn from; none where all were."""
    if task.shortlist:
        drawn = task.choose(table, max(len(tried) + 1, task.shortlist * DRAWN), budget)
        return [one for one in drawn if one.choices not in tried]
    for count in sorted({1 if _is_cheap(task) else len(tried) + 1, len(tried) + 1}):
        untried = [one for one in task.choose(table, count, budget) if one.choices not in tried]
        if untried:
            return untried[:1]
    return []


def missed(budget: Budget, attempts: Sequence[Attempt]) -> BudgetError:
    """That no attempt met the budget, or that noise keeps anybody from telling; with the fastest latency."""
    if of_checked := _missed_checked(attempts):
        return of_checked
    asked, fastest = budget.latency_ms or 0.0, min(attempts, key=lambda attempt: attempt.measured_ms)
    least = fastest.measured_ms
    timing, made_at = fastest.timing, fastest.conditions
    wanted, found, advice = LATENCY.shown(asked), LATENCY.shown(least, up=True), "that or more"
    if timing and timing.back_to_back:
        images = 1e3 * made_at.batch * made_at.streams
        wanted, found, advice = f"{images / asked:.4g} images/s", f"{images / least:.4g}", "that or less"
    text = f"no engine met {wanted} in {len(attempts)} tries: the fastest one measured {found}."
    if fastest.verdict == CANNOT_BE_TOLD:
        why = why_not_told(least, asked, fastest.noise_pct, fastest.conditions.device)
        return BudgetError(f"{text} {why}", LATENCY.name, asked, least, cannot_be_told=True)
    return BudgetError(f"{text} Ask for {advice}, or profile again.", LATENCY.name, asked, least)


def _missed_checked(attempts: Sequence[Attempt]) -> BudgetError | None:
    """That engines in time were over another limit, with the least that any took; None where none was."""
    in_time = [one for one in attempts if one.is_in_time and one.over]
    if not in_time:
        return None
    name = in_time[-1].over[0].name
    least = min(
        (cost for one in in_time for cost in one.over if cost.name == name), key=lambda cost: cost.measured
    )
    limit = least.limit or 0.0
    text = (
        f"no engine met {shown(name, limit)} of {TITLES[name]} in {len(attempts)} tries: the smallest one"
        f" measured {shown(name, least.measured)}. Ask for that or more, or for another latency."
    )
    return BudgetError(text, name, limit, least.measured)
