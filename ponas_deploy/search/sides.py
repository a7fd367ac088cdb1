"""Latency tables side by side, each with what networks lose at its resolution, on one scale of loss.

Latency and MACs do not add over resolution, so every table has an exact front of its own, and the fronts are
merged. Loss adds over layers within a table; across resolutions top-1 is compared, where it is predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, fsum

import numpy as np

from ponas_deploy.errors import BudgetError, TableMismatchError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.columns import Floats
from ponas_deploy.search.comparison import NamedFront, Predict
from ponas_deploy.search.costs import CostColumn, cost_column
from ponas_deploy.search.frontier import Front
from ponas_deploy.search.notation import FPS, Limit
from ponas_deploy.search.pareto import front
from ponas_deploy.search.specialize import groups_of, least_possible, matched_loss, most_useful
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_quality import accuracy_warnings, top1_warnings
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.quality import table_warnings
from ponas_deploy.tables.resolutions import at_resolutions, resolution_warnings
from ponas_deploy.tables.top1 import PredictedTop1
from searchspace.space import Space

_EQUAL_PP = 1e-9


@dataclass(frozen=True, slots=True)
class Side:
    """A latency table, the accuracy table as it counts at its resolution, and its space there, if known."""

    latency: LatencyTable
    accuracy: AccuracyTable
    space: Space | None = None

    @property
    def resolution(self) -> int | None:
        """Of the networks' input, in pixels; None where neither the latency table nor a space says it."""
        return _resolution(self.latency, self.space)

    @property
    def least_pp(self) -> float:
        """The loss of the network that loses least, as it is compared across sides."""
        groups = groups_of(self.latency, self.accuracy)
        loss = matched_loss(self.latency, self.accuracy)
        least = fsum((loss.fixed, *(float(row.min()) for row in groups.joined(loss.arrays()))))
        return self.accuracy.compared_pp(least)

    def most_useful(self, column: CostColumn) -> float:
        """What the network that loses least costs at least, in the column's unit."""
        return most_useful(column, self.latency, self.accuracy, self.space)

    def least_possible(self, column: CostColumn) -> float:
        """What the network that costs least costs, in the column's unit."""
        return least_possible(column, self.latency, self.accuracy, self.space)


def _resolution(latency: LatencyTable, space: Space | None) -> int | None:
    known = latency.space or space
    return known.resolution if known else None


def sides_of(
    latencies: Sequence[LatencyTable],
    accuracies: Sequence[AccuracyTable],
    spaces: Sequence[Space | None] | None = None,
) -> tuple[Side, ...]:
    """Latency tables with their accuracy tables (`at_resolutions`); `spaces` in the same order."""
    given = spaces or [None] * len(latencies)
    counted = at_resolutions(accuracies, list(map(_resolution, latencies, given)))
    return tuple(
        Side(latency, accuracy, space)
        for latency, (_, accuracy), space in zip(latencies, counted, given, strict=True)
    )


def budget_over(
    limits: Mapping[str, Limit], sides: Sequence[Side], relative_to: Sequence[Side] | None = None
) -> Budget:
    """The budget of `limits` (by column name); a percentage is of the most that helps where least is lost,
    on the sides that it is `relative_to` (all of them).
    Frames per second are at the batch of the tables; one of unknown conditions (a CSV) counts as batch 1.
    TableMismatchError for frames per second of a table whose runs overlap on several streams: a latency there
    is not the time between two results. BudgetError for a percentage that no network meets on any side, with
    the least that one does.
    """
    latencies = [side.latency for side in sides]
    if any(limit.unit == FPS for limit in limits.values()):
        _refuse_streams(latencies)
    made_at = [table.conditions for table in latencies if table.conditions]
    batch = max((one.batch for one in made_at), default=1)
    streams = max((one.streams for one in made_at), default=1)
    found = {}
    for name, limit in limits.items():
        column, most = cost_column(name), 0.0
        if limit.relative:
            counted = relative_to or sides
            least = min(side.least_pp for side in counted)
            most = min(side.most_useful(column) for side in counted if side.least_pp <= least + _EQUAL_PP)
        found[name] = limit.value(most, batch, streams)
        if limit.relative:
            _refuse_below_all(column, limit, most, sides)
    return Budget(**found)


def _refuse_below_all(column: CostColumn, limit: Limit, most: float, sides: Sequence[Side]) -> None:
    """BudgetError for a percentage of `most` that is less than the least of every side."""
    least, cheapest = min(((side.least_possible(column), side) for side in sides), key=lambda one: one[0])
    asked = limit.value(most)
    if asked >= least or np.isclose(asked, least, rtol=1e-12, atol=0):
        return
    conditions = cheapest.latency.conditions
    where = f" on {conditions.device}" if conditions and column.on_device else ""
    percent = f"{ceil(1e3 * least / most) / 10:g}"
    raise BudgetError(
        f"no architecture meets {limit.text}, {column.shown(asked)}{where}: the {column.superlative} one"
        f" takes {column.shown(least, up=True)}, {percent} % of it. Ask for {percent}% or more.",
        column.name,
        asked,
        least,
    )


def budget_from(
    limits: Mapping[str, Limit],
    latencies: Sequence[LatencyTable],
    accuracy: AccuracyTable,
    space: Space | None = None,
) -> Budget:
    """The same for tables of one resolution."""
    return budget_over(limits, [Side(latency, accuracy, space) for latency in latencies])


def _refuse_streams(latencies: Sequence[LatencyTable]) -> None:
    for table in latencies:
        if table.conditions and table.conditions.streams > 1:
            raise TableMismatchError(
                f"the latency table is of runs that overlap on {table.conditions.streams} streams, of which"
                " no frames per second follow: ask for --throughput, or take a table of one stream."
            )


def fronts_of(sides: Sequence[Side]) -> tuple[Front, ...]:
    """The exact front of each side, with the losses of its own accuracy table."""
    return tuple(front(side.latency, side.accuracy) for side in sides)


def comparable(
    sides: Sequence[Side], names: Sequence[str], fronts: Sequence[Front]
) -> tuple[tuple[NamedFront, ...], Predict]:
    """The fronts of sides with their losses on one scale, and the top-1 at a loss of that scale.

    At one resolution, or where no top-1 is predicted, losses are the tables' own; else points of top-1 below
    the best that any of them predicts.
    """
    found, first = [side.resolution for side in sides], sides[0].accuracy
    best = _best_top1([side.accuracy for side in sides]) if len(set(found)) > 1 else None
    if best is not None:
        fronts = [_below(best.pct, one, side.accuracy) for one, side in zip(fronts, sides, strict=True)]

    def predict(loss_pp: float) -> PredictedTop1 | None:
        return replace(best, pct=best.pct - loss_pp) if best else first.predicted_top1(loss_pp)

    named = zip(names, fronts, found, strict=True)
    return tuple(NamedFront(name, one, px) for name, one, px in named), predict


def _best_top1(accuracies: Sequence[AccuracyTable]) -> PredictedTop1 | None:
    """The greatest top-1 that tables of several resolutions predict, and what all of them are of."""
    tops = [top1 for table in accuracies if (top1 := table.predicted_top1(table.moved_pp))]
    if len(tops) < len(accuracies):
        return None
    of = dict.fromkeys(top1.of for top1 in tops)
    return PredictedTop1(max(top1.pct for top1 in tops), "; ".join(of))


def _below(best_pct: float, own: Front, accuracy: AccuracyTable) -> Front:
    """A front whose losses are points of top-1 below `best_pct`."""

    def below(loss: Floats) -> Floats:
        return np.array([best_pct + accuracy.compared_pp(float(value)) for value in loss])

    loss = below(own.loss)
    kept = np.append(True, np.minimum.accumulate(loss)[:-1] > loss[1:])
    gap = float(np.max(loss - below(own.loss - own.loss_gap))) if own.loss_gap else 0.0
    return replace(own, cost=own.cost[kept], loss=loss[kept], choices=own.choices[kept], loss_gap=gap)


def side_warnings(sides: Sequence[Side], names: Sequence[str], fronts: Sequence[Front]) -> tuple[str, ...]:
    """What speaks against the tables of sides, and against the top-1 that is predicted of their fronts."""
    latencies = {name: side.latency for name, side in zip(names, sides, strict=True)}
    found = list(table_warnings(latencies, sides[0].accuracy))
    for side in sides:
        found += accuracy_warnings(side.accuracy)
        found += resolution_warnings(side.accuracy, [one.resolution for one in sides if one.resolution])
    ends = [
        (side.accuracy.compared_pp(float(loss)), float(loss), place)
        for place, (side, own) in enumerate(zip(sides, fronts, strict=True))
        for loss in own.loss[[0, -1]]
    ]
    for _, loss_pp, place in (min(ends), max(ends)):
        one = sides[place]
        found += top1_warnings(one.accuracy, [loss_pp], [one.resolution] if one.resolution else [])
    return tuple(dict.fromkeys(found))
