"""Following the beginnings of architectures, layer by layer, with bounds: one pass of the bounded search.

A beginning is dropped when its bound is above what is in hand already. With one limit it is also dropped when
enough others use no more and have no higher objective (Nemhauser and Ullmann, 1969). When too many are left
the `width` of least bound stay, and the least bound of the others is remembered: what the pass has
not seen is no better than that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.search.bounds import Relaxation
from ponas_deploy.search.columns import Floats, Indices

_DOMINANCE_K = 64
"""Up to so many best ones dominated beginnings are looked for: it takes a round each."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What a pass goes through: for each layer a row of objective, of surrogate use, and of each excess.

    `columns` hold (2 + E, n_l) a layer, `ends` the relaxation of the layers from each on, `room` what the
    surrogate allows, `slack` (E,) what the excesses allow. `exact` where the surrogate is the one limit
    there is.
    """

    columns: Sequence[Floats]
    ends: Sequence[Relaxation]
    room: float
    slack: Floats
    exact: bool


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass found: `choices` (P, L) by objective, the least bound it dropped, and its work."""

    choices: Indices
    dropped: float
    work: int


def follow(layers: Layers, most: float, k: int, width: int) -> Pass:
    """The `k` best architectures of objective `most` at the most that `width` beginnings lead to."""
    sums, dropped, work = np.zeros((len(layers.columns[0]), 1)), math.inf, 0
    left = _least_excess(layers)
    trail: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
    for index, column in enumerate(layers.columns):
        parents = sums.shape[1]
        sums = (column[:, :, None] + sums[:, None, :]).reshape(len(column), -1)
        work += sums.shape[1]
        end, allowed = layers.ends[index + 1], layers.slack - left[index + 1]
        room = layers.room - sums[1]
        fits = (room >= end.use[0]) & np.all(sums[2:] <= allowed[:, None], axis=0)
        kept = np.flatnonzero(fits)
        bound = sums[0, kept] + end.least(room[kept])
        promising = bound <= most
        kept, bound = kept[promising], bound[promising]
        if layers.exact and kept.size > k and k <= _DOMINANCE_K:
            own = _not_dominated(sums[1, kept], sums[0, kept], k)
            kept, bound = kept[own], bound[own]
        if kept.size > width:
            order = np.argpartition(bound, width)
            dropped = min(dropped, float(bound[order[width]]))
            kept = kept[order[:width]]
        candidate, parent = np.divmod(kept, parents)
        trail.append((candidate.astype(np.int32), parent.astype(np.int32)))
        sums = sums[:, kept]
        if not kept.size:
            return Pass(np.empty((0, len(layers.columns)), dtype=np.intp), dropped, work)
    return Pass(_walk(trail, np.lexsort(sums[::-1])[:k]), dropped, work)


def _least_excess(layers: Layers) -> Floats:
    """What the layers from each on use of every limit at the least: (L + 1, E)."""
    least = np.array([column[2:].min(axis=1, initial=math.inf) for column in layers.columns])
    none = np.zeros((1, len(layers.slack)))
    return np.concatenate((np.cumsum(least[::-1], axis=0)[::-1], none))


def _not_dominated(use: Floats, objective: Floats, k: int) -> Indices:
    """Indices of the points that fewer than `k` others are no worse than, and some more: (P,).

    The front of the points, then the front of the rest, `k` times: whatever is left then has `k` such others.
    """
    rest = np.lexsort((objective, use))
    fronts = []
    for _ in range(k):
        if not rest.size:
            break
        values = objective[rest]
        improves = np.append(True, values[1:] < np.minimum.accumulate(values)[:-1])
        fronts.append(rest[improves])
        rest = rest[~improves]
    return np.concatenate(fronts)


def _walk(trail: Sequence[tuple[NDArray[np.int32], NDArray[np.int32]]], points: Indices) -> Indices:
    """The choices behind the `points` (P,) of the last layer: (P, L)."""
    choices = np.empty((points.size, len(trail)), dtype=np.intp)
    for layer in range(len(trail) - 1, -1, -1):
        candidate, parent = trail[layer]
        choices[:, layer] = candidate[points]
        points = parent[points].astype(np.intp)
    return choices
