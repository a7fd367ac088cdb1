"""The search with a margin: less than the budget is asked for, so that a table's errors keep it."""

from __future__ import annotations

from dataclasses import replace

from ponas_deploy.errors import BudgetError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.costs import LATENCY
from ponas_deploy.search.specialize import Specialization, specialize
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.margin import Margin
from searchspace.space import Space


def choose_within(
    certified: Margin | None,
    latency: LatencyTable,
    accuracy: AccuracyTable,
    budget: Budget,
    *,
    space: Space | None = None,
    method: str = "exact",
    seed: int = 0,
) -> Specialization:
    """`specialize` with the latency budget divided by a table's margin; the prediction stays the table's."""
    table = latency.scaled(certified.factor) if certified else latency
    try:
        found = specialize(table, accuracy, budget, space=space, method=method, seed=seed)
    except BudgetError as error:
        raise with_margin_said(error, certified) from error
    return replace(found, predicted_ms=latency.predict_ms(found.choices)) if certified else found


def with_margin_said(error: BudgetError, certified: Margin | None) -> BudgetError:
    """The same refusal, which says that a margin is in its numbers."""
    if certified is None or error.constraint != LATENCY.name:
        return error
    text = f"{error} That is with a margin of {certified.text}."
    return BudgetError(text, error.constraint, error.asked, error.least)
