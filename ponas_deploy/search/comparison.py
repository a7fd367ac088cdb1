"""Compare the fronts of several devices, backends or precisions: for each budget, who loses least.

All fronts share one loss scale (one accuracy table), so points of different fronts can be compared.
Hypervolume: Zitzler and Thiele, "Multiobjective Evolutionary Algorithms: A Comparative Case Study and
the Strength Pareto Approach", 1999; the coverage of two sets, their C metric, is from there too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import floor, log10
from typing import Any, TypeAlias

import numpy as np
from msgspec import UNSET, UnsetType

from ponas_deploy.errors import PonasError
from ponas_deploy.search.columns import Floats
from ponas_deploy.search.frontier import Front, best_within
from ponas_deploy.search.pareto import FrontPoint, ParetoFront
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.top1 import PredictedTop1

Predict: TypeAlias = Callable[[float], PredictedTop1 | None]
"""A loss in percentage points -> the predicted top-1; None where the accuracy table only ranks."""
SAME = 1e-9
"""Latencies and losses that differ by less, relatively, are a tie."""


def no_top1(loss_pp: float) -> PredictedTop1 | None:
    """Nothing predicts top-1."""
    return None


@dataclass(frozen=True, slots=True)
class NamedFront:
    """A front in milliseconds and percentage points, and what it is the front of.

    `resolution` is that of its networks' input in pixels; None where it is not known.
    """

    name: str
    front: Front
    resolution: int | None = None


@dataclass(frozen=True, slots=True)
class BestWithin:
    """The best network of one front within a budget."""

    latency_ms: float
    loss_pp: float


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """A budget: the best network of each front within it (None where there is none), and the winners.

    `winners` holds the indices of the fronts of least loss and, among those, least latency.
    """

    budget_ms: float
    best_within: tuple[BestWithin | None, ...]
    winners: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FrontComparison:
    """Several fronts side by side; every tuple is in the order of `names`.

    `dominated_pct[a][b]` is the share of a's points that some point of b beats, in percent.
    `hypervolume_pct[a]` is the share that a dominates of the box between the best corner of all fronts
    and `reference`, their worst (latency in ms, loss in pp). `slowdown[a]` says how many times as long as the
    fastest front a takes at equal loss, in the geometric mean.
    """

    names: tuple[str, ...]
    by_budget: tuple[BudgetRow, ...]
    dominated_pct: tuple[tuple[float, ...], ...]
    hypervolume_pct: tuple[float, ...]
    reference: tuple[float, float]
    slowdown: tuple[float, ...]
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PointDocument:
    """A network of a front; `table` is the latency table's name where there are several.

    `resolution` is that of its input in pixels, absent where the table does not say it.
    """

    table: str | UnsetType = UNSET
    resolution: int | UnsetType = UNSET
    latency_ms: float
    loss_pp: float
    predicted_top1_pct: float | UnsetType = UNSET
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FrontDocument:
    """The front of one of several latency tables."""

    table: str
    points: tuple[PointDocument, ...]


@dataclass(frozen=True, slots=True)
class BudgetRowDocument:
    """See `BudgetRow`; fronts by the names of their tables."""

    budget_ms: float
    winners: tuple[str, ...]
    best: Mapping[str, BestWithin | None]


@dataclass(frozen=True, slots=True)
class ComparisonDocument:
    """See `FrontComparison`; fronts by the names of their tables."""

    tables: tuple[str, ...]
    by_budget: tuple[BudgetRowDocument, ...]
    dominated_pct: Mapping[str, Mapping[str, float]]
    hypervolume_pct: Mapping[str, float]
    reference: BestWithin
    slowdown: Mapping[str, float]
    verdict: str


@dataclass(frozen=True, slots=True)
class ParetoDocument:
    """What `ponas pareto --json` prints.

    `points` is the front of one table, or that of all together, each point with its table. With several
    tables there are the `fronts` of each, and their `comparison`. `warnings` (absent
    without any) speak against the tables. `predicted_top1_of` says what the points' predicted top-1 is of;
    both are absent where the accuracy table only ranks.
    """

    points: tuple[PointDocument, ...]
    fronts: tuple[FrontDocument, ...] | UnsetType = UNSET
    comparison: ComparisonDocument | UnsetType = UNSET
    warnings: tuple[str, ...] | UnsetType = UNSET
    predicted_top1_of: str | UnsetType = UNSET


def pareto_document(
    fronts: Sequence[NamedFront],
    grids: Sequence[Grid],
    warnings: Sequence[str] = (),
    predict: Predict = no_top1,
) -> ParetoDocument:
    """Fronts, each with the grid of its latency table, as `ponas pareto --json` prints them.

    `predict` is the top-1 at a loss of theirs.
    """
    labelled = [
        tuple(_point(point, one.resolution, predict) for point in ParetoFront.of(one.front, grid).points)
        for one, grid in zip(fronts, grids, strict=True)
    ]
    of = predict(0.0)
    common: dict[str, Any] = {
        "warnings": tuple(warnings) or UNSET,
        "predicted_top1_of": of.of if of else UNSET,
    }
    if len(fronts) == 1:
        return ParetoDocument(labelled[0], **common)
    joint = joint_front([named.front for named in fronts])
    return ParetoDocument(
        tuple(replace(labelled[which][point], table=fronts[which].name) for which, point in joint),
        tuple(FrontDocument(named.name, points) for named, points in zip(fronts, labelled, strict=True)),
        comparison_document(compare_fronts(fronts)),
        **common,
    )


def _point(point: FrontPoint, resolution: int | None, predict: Predict) -> PointDocument:
    top1 = predict(point.loss_pp)
    return PointDocument(
        resolution=resolution or UNSET,
        latency_ms=point.latency_ms,
        loss_pp=point.loss_pp,
        predicted_top1_pct=top1.pct if top1 else UNSET,
        choices=point.choices,
    )


def comparison_document(comparison: FrontComparison) -> ComparisonDocument:
    """A comparison as JSON, the fronts by their names."""
    names = comparison.names
    return ComparisonDocument(
        names,
        tuple(_row_document(row, names) for row in comparison.by_budget),
        {
            name: {other: value for other, value in zip(names, row, strict=True) if other != name}
            for name, row in zip(names, comparison.dominated_pct, strict=True)
        },
        dict(zip(names, comparison.hypervolume_pct, strict=True)),
        BestWithin(*comparison.reference),
        dict(zip(names, comparison.slowdown, strict=True)),
        comparison.verdict,
    )


def _row_document(row: BudgetRow, names: tuple[str, ...]) -> BudgetRowDocument:
    best = dict(zip(names, row.best_within, strict=True))
    return BudgetRowDocument(row.budget_ms, tuple(names[index] for index in row.winners), best)


def thinned_warnings(fronts: Sequence[NamedFront]) -> tuple[str, ...]:
    """What is to be said of fronts that are not complete: how far a network of the true one may be."""
    return tuple(
        f"the front of {named.name} has too many networks to list: it is cut to {len(named.front.cost)},"
        " and every network of the complete one has one here that takes at most"
        f" {100 * named.front.cost_gap:.2g} % longer and loses at most"
        f" {named.front.loss_gap:.2g} points more."
        for named in fronts
        if not named.front.complete
    )


def joint_front(fronts: Sequence[Front]) -> list[tuple[int, int]]:
    """The points that none of any front beats, by ascending latency: (index of the front, of its point)."""
    everything = sorted(
        (float(cost), float(loss), which, point)
        for which, front in enumerate(fronts)
        for point, (cost, loss) in enumerate(zip(front.cost, front.loss, strict=True))
    )
    best, kept = float("inf"), []
    for _, loss, which, point in everything:
        if loss < best:
            best = loss
            kept.append((which, point))
    return kept


def compare_fronts(fronts: Sequence[NamedFront], *, rows: int = 10) -> FrontComparison:
    """Compare two fronts or more on a list of about `rows` budgets; PonasError for fewer than two."""
    if len(fronts) < 2:
        raise PonasError(f"{len(fronts)} front to compare: give two latency tables or more.")
    names = tuple(named.name for named in fronts)
    bare = [named.front for named in fronts]
    by_budget = tuple(_budget_row(bare, budget) for budget in round_budgets(bare, rows))
    reference = max(f.cost[-1] for f in bare), max(f.loss[0] for f in bare)
    slowdown = _slowdowns(bare)
    return FrontComparison(
        names,
        by_budget,
        tuple(tuple(_dominated_pct(one, other) for other in bare) for one in bare),
        tuple(_hypervolume_pct(front, bare, reference) for front in bare),
        (float(reference[0]), float(reference[1])),
        slowdown,
        _verdict(names, by_budget, slowdown),
    )


def round_budgets(fronts: Sequence[Front], rows: int) -> tuple[float, ...]:
    """About `rows` round budgets in ms, from the fastest network of any front to where none gains more.

    They grow by equal factors and are rounded to two digits; the first and the last reach both ends, a lone
    one lies between them.
    """
    low = min(float(front.cost[0]) for front in fronts)
    high = max(float(front.cost[-1]) for front in fronts)
    if high <= low:
        return (_round_up(high),)
    above_zero = low if low > 0 else high / 1e3
    if rows == 1:
        return (_round_up((above_zero * high) ** 0.5),)
    inner = np.geomspace(above_zero, high, rows)[1:-1]
    return tuple(sorted({_round_up(low), *(_round_up(float(budget)) for budget in inner), _round_up(high)}))


def _round_up(value: float) -> float:
    """The next number of two digits."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** (floor(log10(value)) - 1)
    steps = value / unit
    return float(f"{np.ceil(steps * (1 - SAME)) * unit:.12g}")


def _budget_row(fronts: Sequence[Front], budget: float) -> BudgetRow:
    found = tuple(_within(front, budget) for front in fronts)
    able = [index for index, best in enumerate(found) if best is not None]
    least = min(((s.loss_pp, s.latency_ms) for s in found if s is not None), default=(0.0, 0.0))
    winners = tuple(
        index
        for index in able
        if (best := found[index]) is not None
        and np.allclose((best.loss_pp, best.latency_ms), least, rtol=SAME, atol=SAME)
    )
    return BudgetRow(budget, found, winners)


def _within(front: Front, budget: float) -> BestWithin | None:
    index = best_within(front, budget)
    return None if index is None else BestWithin(float(front.cost[index]), float(front.loss[index]))


def _dominated_pct(one: Front, other: Front) -> float:
    """Percent of the points of `one` that a point of `other` beats in one thing and equals in the other."""
    best = np.searchsorted(other.cost, one.cost * (1 + SAME), side="right") - 1
    rival_cost, rival_loss = other.cost[best], other.loss[best]
    no_worse = (best >= 0) & (rival_loss <= one.loss + SAME)
    better = (rival_loss < one.loss - SAME) | (rival_cost < one.cost * (1 - SAME))
    return float(100 * np.mean(no_worse & better))


def _hypervolume_pct(front: Front, fronts: Sequence[Front], reference: tuple[float, float]) -> float:
    box = (reference[0] - min(f.cost[0] for f in fronts)) * (reference[1] - min(f.loss[-1] for f in fronts))
    widths = np.diff(np.append(front.cost, reference[0]))
    area = float(np.sum(widths * (reference[1] - front.loss)))
    return 100 * area / float(box) if box > 0 else 100.0


def _slowdowns(fronts: Sequence[Front]) -> tuple[float, ...]:
    """How many times as long each front takes as the fastest one, at equal loss, in the geometric mean.

    Taken at every loss level of any front that all fronts can reach, and take some time for; 1 without one.
    """
    reachable = max(float(front.loss[-1]) for front in fronts)
    levels = np.unique(np.concatenate([front.loss for front in fronts]))
    levels = levels[levels >= reachable - SAME]
    costs = np.array([_cost_at(front, levels) for front in fronts])
    timed = (costs > 0).all(axis=0)
    logs = np.log(costs[:, timed]).mean(axis=1) if timed.any() else np.zeros(len(fronts))
    return tuple(float(value) for value in np.exp(logs - logs.min()))


def _cost_at(front: Front, levels: Floats) -> Floats:
    """The least latency at which `front` loses no more than each level."""
    first = np.searchsorted(-front.loss, -(levels + SAME), side="left")
    return front.cost[np.minimum(first, front.cost.size - 1)]


def _verdict(names: Sequence[str], rows: Sequence[BudgetRow], slowdown: Sequence[float]) -> str:
    decided = [row for row in rows if len(row.winners) == 1]
    if not decided:
        return f"{_listed(names)} are equal at every budget."
    wins = {index: sum(row.winners[0] == index for row in decided) for index in range(len(names))}
    first = max(wins, key=lambda index: wins[index])
    if wins[first] < len(rows):
        return f"{_ranges(names, decided)}."
    rest = [index for index in range(len(names)) if index != first]
    second = min(rest, key=lambda index: slowdown[index])
    if slowdown[second] <= slowdown[first]:
        return f"{names[first]} wins at every budget."
    ahead = f"{slowdown[second] / slowdown[first]:.2f} times as fast as {names[second]}"
    return f"{names[first]} wins at every budget: at equal loss {ahead}{', the next best' * (len(rest) > 1)}."


def _ranges(names: Sequence[str], decided: Sequence[BudgetRow]) -> str:
    """Who wins from where to where: `A wins up to 3 ms, B from 4 ms on`."""
    runs = [(winner, list(rows)) for winner, rows in groupby(decided, key=lambda row: row.winners[0])]
    if len(runs) > 4:
        counts = {names[w]: sum(row.winners[0] == w for row in decided) for w, _ in runs}
        parts = [f"{name} wins {count}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1])]
        return f"{_listed(parts)} of {len(decided)} budgets, in turns"
    parts = []
    for position, (winner, rows) in enumerate(runs):
        start, end = f"{rows[0].budget_ms:g} ms", f"{rows[-1].budget_ms:g} ms"
        where = f"from {start} to {end}" if start != end else f"at {end}"
        where = f"up to {end}" if position == 0 else where
        where = f"from {start} on" if position == len(runs) - 1 and position else where
        parts.append(f"{names[winner]} wins {where}")
    return _listed(parts)


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
