"""The reranker: the best networks by the tables are evaluated on images, which say which one is the best.

Losses of single layers, added up, are an approximation. On a public benchmark of 6,561 trained networks
the true regret of a table's pick was 0.35 points; of the best of its ten best, 0.06.

In a space of 12^19 networks the ten best are nearly one and the same. So the list takes the best of those
that differ in three of its 19 layers or more, which costs a twentieth of a point by the table; and of a
layer's candidates that lose exactly the same only the fastest, because on small images they are the same: a
kernel of 7 sees no more there than one of 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ponas_deploy.engines.attempt import Attempt
from ponas_deploy.engines.manifest import Shortlisted
from ponas_deploy.errors import PonasError
from ponas_deploy.search.specialize import Specialization, matched_loss
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.depth import tails
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.spaces import ruling_space
from searchspace.architecture import Architecture
from searchspace.space import Space

Choices = tuple[str, ...]

DRAWN = 20
"""So many of a table's best networks are considered for each place of the list."""
_LAYERS_A_CHANGE = 6
"""Two networks count as different when they differ in one of so many layers."""

_NOBODY_PAYS = 1000.0  # times the slowest network

Validate = Callable[[Sequence[Architecture]], Sequence[float]]
"""Networks -> the top-1 of each in percent on validation images, with the weights that it inherits."""


def refuse_shortlist(method: str, validate: Validate | None, weights: str, too_few: str) -> None:
    """PonasError where a shortlist cannot be made: one network, no weights, or `too_few` images."""
    if method != "exact":
        raise PonasError(
            f"a shortlist needs the exact search, '{method}' finds one network: leave out --method {method}."
        )
    if validate is None:
        raise PonasError(
            f"a shortlist is evaluated with the weights that its networks inherit, and these are {weights}:"
            f" name a supernet's with --weights."
        )
    if too_few:
        raise PonasError(f"--shortlist: {too_few}")


def without_doubles(latency: LatencyTable, accuracy: AccuracyTable) -> LatencyTable:
    """The table with a price nobody pays for what loses exactly what a faster one of its layer loses.

    Where the depth rule says when a layer is absent, that is no double of a block: others may not follow it.
    """
    grid, loss = latency.grid, matched_loss(latency, accuracy)
    price = _NOBODY_PAYS * (grid.fixed + sum(max(row) for row in grid.values))
    absent = {cell for tail in tails(grid, ruling_space(latency) or ruling_space(accuracy)) for cell in tail}
    rows = []
    for layer, (costs, losses) in enumerate(zip(grid.values, loss.values, strict=True)):
        own = {place for place in range(len(costs)) if (layer, place) in absent}
        slowest_first = sorted(set(range(len(costs))) - own, key=lambda place: (-costs[place], place))
        kept = own | set({losses[place]: place for place in slowest_first}.values())
        rows.append(tuple(cost if place in kept else price for place, cost in enumerate(costs)))
    return replace(latency, grid=replace(grid, values=tuple(rows)))


class Reranker:
    """Evaluates the best networks on images and orders them by that; each network once."""

    def __init__(self, count: int, space: Space, validate: Validate) -> None:
        self._count, self._space, self._validate = count, space, validate
        self._seen: dict[Choices, Shortlisted] = {}

    def rerank(self, found: Sequence[Attempt]) -> list[Attempt]:
        """The best of `found` that differ enough, as many as the list is long, with their top-1 on images.

        A network that several tables hold is taken from the one where it is the fastest.
        """
        fastest = {a.choice.choices: a for a in sorted(found, key=lambda a: -a.expected_ms)}
        best = sorted(fastest.values(), key=lambda a: (a.choice.predicted_loss_pp, a.expected_ms))
        known = [a for a in best if a.choice.choices in self._seen]
        new = _different(best, self._count - len(known), list(self._seen))
        self._evaluate(new)
        return [
            replace(a, validation_top1_pct=self._top1(a), choice=_beside(a, best[0])) for a in known + new
        ]

    def entries(self, chosen: Sequence[str]) -> tuple[Shortlisted, ...]:
        """All that were evaluated, the best first; `chosen` is marked."""
        found = (replace(entry, chosen=entry.choices == tuple(chosen)) for entry in self._seen.values())
        return tuple(sorted(found, key=lambda e: (-e.validation_top1_pct, e.predicted_loss_pp)))

    def _evaluate(self, new: Sequence[Attempt]) -> None:
        networks = [Architecture(self._space, attempt.choice.choices) for attempt in new]
        values = self._validate(networks) if networks else ()
        for attempt, top1_pct in zip(new, values, strict=True):
            choice = attempt.choice
            self._seen[choice.choices] = Shortlisted(
                choice.choices, choice.predicted_ms, choice.predicted_loss_pp, top1_pct
            )

    def _top1(self, attempt: Attempt) -> float:
        return self._seen[attempt.choice.choices].validation_top1_pct


def _different(best: Sequence[Attempt], count: int, known: list[Choices]) -> list[Attempt]:
    """The first `count` that differ from each other and those known; where too few do, by less and less."""
    listed: list[Attempt] = []
    others = list(known)
    layers = len(best[0].choice.choices) if best else 0
    for apart in range(max(layers // _LAYERS_A_CHANGE, 1), 0, -1):
        for attempt in best:
            if len(listed) < count and _nearest(attempt.choice.choices, others) >= apart:
                listed.append(attempt)
                others.append(attempt.choice.choices)
    return listed


def _nearest(choices: Choices, others: Sequence[Choices]) -> int:
    """In how many layers a network differs from the one most like it."""
    apart = (sum(a != b for a, b in zip(choices, other, strict=True)) for other in others)
    return min(apart, default=len(choices))


def _beside(attempt: Attempt, first: Attempt) -> Specialization:
    """The choice of an attempt, with what the tables say it loses against their best."""
    gap_pp = attempt.choice.predicted_loss_pp - first.choice.predicted_loss_pp
    return replace(attempt.choice, gap_pp=gap_pp, optimal=gap_pp == 0.0)
