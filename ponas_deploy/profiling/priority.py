"""What a profile visits most often when time is short: what decides which network is chosen.

A candidate that is slower than another of its layer and loses more is in no network of the Pareto front,
because both add up over layers. So cells of which that is certain, in spite of what is not known of their
latency yet, are left out of most rounds. They keep the rounds that nothing goes without, and some between
the others all along, so that no drift hits them alone; whoever looks faster later on comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.measuring.protocol import Plan, Samples, is_settled
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.spaces import in_order_of
from searchspace.cost import cost_table
from searchspace.ops import count_params
from searchspace.space import Space, is_empty

Floats = NDArray[np.float64]

EVERYTHING_EVERY = 4
"""After the rounds that nothing goes without, all cells are visited in each so many rounds."""
IN_CONTEXT = 0.05
"""How far a cell inside a network may be from what it takes alone, beyond one factor for all."""
ROUGH_STATISTIC = "fastest_quarter"


def losses(space: Space, accuracy: AccuracyTable | None) -> list[Floats]:
    """What each candidate loses, an array a layer; without a table the smaller one is taken to lose more.

    TableMismatchError for a table of another space.
    """
    if accuracy is None:
        _, params = cost_table(count_params, space)
        return [-np.array(row, dtype=np.float64) for row in params]
    return in_order_of(accuracy.loss, accuracy.space, space, "the accuracy table").arrays()


def contenders(
    keys: Sequence[Sequence[str]], low: Sequence[Floats], high: Sequence[Floats], loss: Sequence[Floats]
) -> frozenset[str]:
    """The cells, by key, that the front can contain when each cell costs between `low` and `high`.

    All are (layers, candidates). Cells that several layers share are in when one of those needs them.
    """
    return frozenset(
        key
        for names, least, most, lost in zip(keys, low, high, loss, strict=True)
        for key, own, own_loss in zip(names, least, lost, strict=True)
        if not np.any((most < own) & (lost <= own_loss))
    )


@dataclass(slots=True)
class Priority:
    """Which sessions are due in which round of a wave, by what was measured until then.

    `always` are in every round (the whole networks), `loss` is (layers, candidates). Rounds count from
    `first_round`. Those before `resumed_at` were taken before: only `new` sessions catch up with them.
    """

    space: Space
    loss: Sequence[Floats]
    samples: Samples
    plan: Plan
    always: frozenset[str]
    first_round: int = 0
    resumed_at: int = 0
    new: frozenset[str] = frozenset()
    _number: int = -1
    _few: frozenset[str] | None = None
    """What alone is due in round `_number`; None for everything."""

    def due(self, key: str, number: int) -> bool:
        """Whether this key is to be visited in this round."""
        if number < self.resumed_at:
            return key in self.new
        if number != self._number:
            self._number, self._few = number, self._chosen(number - self.first_round)
        return self._few is None or key in self._few

    def _chosen(self, rounds: int) -> frozenset[str] | None:
        beyond = rounds - self.plan.floor_rounds
        if beyond < 0 or (beyond + 1) % EVERYTHING_EVERY == 0:
            return None
        few = self.always | self._contenders()
        return None if self._all_settled(few) else few

    def _contenders(self) -> frozenset[str]:
        keys = [[cell.key for cell in row] for row in self.space.cells()]
        # Under the depth rule an absent layer cannot take another candidate's place: it rules none out.
        absent = (0.0, inf) if self.space.stages else (0.0, 0.0)
        known = {
            key: absent if is_empty(key) else self.samples.measurement(key).interval_ms(ROUGH_STATISTIC)
            for key in {key for row in keys for key in row}
        }
        low, high = (
            [np.array([known[key][side] * factor for key in row]) for row in keys]
            for side, factor in ((0, 1 - IN_CONTEXT), (1, 1 + IN_CONTEXT))
        )
        return frozenset(key for key in contenders(keys, low, high, self.loss) if not is_empty(key))

    def _all_settled(self, keys: frozenset[str]) -> bool:
        return all(is_settled(self.samples.measurement(key), self.plan) for key in keys)
