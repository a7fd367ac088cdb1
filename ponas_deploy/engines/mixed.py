"""Engines of mixed precision: weights of their networks, what is asked for, and what mixing gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ponas_deploy.engines.checked import corrected
from ponas_deploy.engines.task import Task, WeightsSource
from ponas_deploy.engines.wanted import Deployment
from ponas_deploy.errors import PonasError
from ponas_deploy.profiling.mixed import all_with_precisions
from ponas_deploy.profiling.target import Target
from ponas_deploy.search.precisions import BestInPrecision, best_by_precision
from ponas_deploy.tables.grid import SpaceKey
from searchspace.mixed import is_mixed, plain_network
from searchspace.space import Space


def in_precisions(asked: Deployment, targets: Sequence[Target]) -> tuple[Deployment, list[Target]]:
    """A deployment in the space that the precision of its targets takes.

    PonasError for a shortlist in mixed precision: it evaluates networks in full precision.
    """
    (space,), there = all_with_precisions([asked.space], targets)
    if is_mixed(space.name) and asked.shortlist:
        raise PonasError(
            "a shortlist is evaluated in full precision, which says nothing of the layers in int8: leave"
            " --shortlist out with --precision mixed."
        )
    return replace(asked, space=space), there


def source_for(space: Space, source: WeightsSource) -> WeightsSource:
    """The weights for networks of a space: those of a mixed one have the weights of the same blocks."""
    if not is_mixed(space.name):
        return source
    finish = source.finish
    return replace(
        source,
        tensors=lambda architecture: source.tensors(plain_network(architecture)),
        finish=finish and (lambda architecture: finish(plain_network(architecture))),
        validate=None,
    )


def within_budget(task: Task) -> tuple[BestInPrecision, ...]:
    """The best networks within the budget by each table of mixed precision at the task's resolution.

    A limit on energy is left out: nothing predicts it.
    """
    budget, key = corrected(task.budget, ()), SpaceKey.of(task.space)
    return tuple(
        best
        for stored in task.tables
        if stored.table.space == key
        for best in best_by_precision(stored.table, task.of(stored).accuracy.table, budget, task.space)
    )
