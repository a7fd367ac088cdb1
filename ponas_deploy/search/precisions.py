"""What a precision for each layer buys: the best network of a mixed space beside those of one precision.

A table of a mixed space (`searchspace.mixed`) holds those of one precision too. Each part is solved as any
table is, so that all three are exact, by the same cells: stem and head are in full precision in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ponas_deploy.errors import BudgetError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.specialize import shortlist
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from searchspace.mixed import FULL, INT8, MARK, MIXED, is_int8, is_mixed, plain, plain_label, plain_name
from searchspace.space import Space
from searchspace.spaces import fingerprint_of, is_known

_LEAST_GAIN_PP = 0.005
"""Below what is printed of a loss."""


@dataclass(frozen=True, slots=True)
class BestInPrecision:
    """The best network within a budget of a precision ("fp32", "int8" or "mixed"), by a table of `backend`.

    `choices` and what is predicted are None where none is within it, `backend` is empty for a table that does
    not say its runtime.
    """

    backend: str
    precision: str
    choices: tuple[str, ...] | None = None
    predicted_ms: float | None = None
    predicted_loss_pp: float | None = None

    @property
    def text(self) -> str:
        """A few words for people."""
        name = self.precision if self.precision == MIXED else f"{self.precision} alone"
        if self.predicted_loss_pp is None:
            return f"{name} has no network within it"
        return f"{name} loses {self.predicted_loss_pp:.2f} pp at {self.predicted_ms:.3g} ms"


def best_by_precision(
    latency: LatencyTable, accuracy: AccuracyTable, budget: Budget, space: Space | None = None
) -> tuple[BestInPrecision, ...]:
    """The best network in full precision, on integers and mixed; nothing for tables of another space."""
    if latency.space is None or not is_mixed(latency.space.name):
        return ()
    alone = space and plain(space)
    of_one = tuple(
        _best(one, _latency_in(one, latency), _losses_in(one, accuracy), budget, alone)
        for one in (FULL, INT8)
    )
    return (*of_one, _best(MIXED, latency, accuracy, budget, space))


def _best(
    precision: str, latency: LatencyTable, accuracy: AccuracyTable, budget: Budget, space: Space | None
) -> BestInPrecision:
    backend = latency.conditions.backend if latency.conditions else ""
    try:
        best = shortlist(latency, accuracy, budget, 1, space=space)[0]
    except BudgetError:
        return BestInPrecision(backend, precision)
    return BestInPrecision(backend, precision, best.choices, best.predicted_ms, best.predicted_loss_pp)


def gain_text(found: Sequence[BestInPrecision]) -> str:
    """What mixing gains within the budget, in words with the numbers; empty without anything found."""
    if not found:
        return ""
    losses = [(one.precision, one.predicted_loss_pp) for one in found if one.predicted_loss_pp is not None]
    of_one = [loss_pp for precision, loss_pp in losses if precision != MIXED]
    mixed_pp = dict(losses).get(MIXED)
    figures = f"within the budget, by the tables: {', '.join(one.text for one in found)}"
    if mixed_pp is None or not of_one:
        return f"{figures}."
    gain_pp = min(of_one) - mixed_pp
    if gain_pp < _LEAST_GAIN_PP:
        return f"{figures}. A precision for each layer buys nothing here."
    return f"{figures}. A precision for each layer gains {gain_pp:.2f} pp."


def _latency_in(precision: str, table: LatencyTable) -> LatencyTable:
    return LatencyTable(_part(precision, table.grid), _key(table.space), table.conditions)


def _losses_in(precision: str, table: AccuracyTable) -> AccuracyTable:
    return replace(table, loss=_part(precision, table.loss), top1=None, space=_key(table.space))


def _key(key: SpaceKey | None) -> SpaceKey | None:
    """The space without precisions; None where it is not known."""
    if key is None or not is_known(key.name):
        return None
    name = plain_name(key.name)
    return replace(key, name=name, fingerprint=fingerprint_of(name))


def _part(precision: str, grid: Grid) -> Grid:
    """The candidates of one precision by their plain labels; an absent layer is in both."""
    labels, values = [], []
    for names, row in zip(grid.candidates, grid.values, strict=True):
        kept = [
            (plain_label(name), value)
            for name, value in zip(names, row, strict=True)
            if is_int8(name) == (precision == INT8) or (precision == INT8 and f"{name}{MARK}" not in names)
        ]
        labels.append(tuple(name for name, _ in kept))
        values.append(tuple(value for _, value in kept))
    return Grid(grid.layers, tuple(labels), tuple(values), grid.fixed)
