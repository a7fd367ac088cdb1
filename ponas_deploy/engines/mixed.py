"""Engines of mixed precision: weights of their networks, and what is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ponas_deploy.engines.task import Task, WeightsSource
from ponas_deploy.engines.wanted import Deployment
from ponas_deploy.errors import PonasError
from ponas_deploy.profiling.mixed import all_with_precisions
from ponas_deploy.profiling.target import Target
from ponas_deploy.search.precisions import best_by_precision, gain_text
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


def precision_notes(task: Task, resolution: int) -> tuple[str, ...]:
    """Of each table of mixed precision at a resolution (pixels): what mixing gains within the budget."""
    said = list[str]()
    for stored in task.tables:
        there = task.of(stored)
        if there.space.resolution == resolution:
            found = best_by_precision(stored.table, there.accuracy.table, task.budget, there.space)
            text = gain_text(found)
            said += [f"{stored.conditions.backend}: {text}"] if text else []
    return tuple(said)
