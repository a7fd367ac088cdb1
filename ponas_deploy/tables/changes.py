"""Changes of cells between two tables; those of fitted tables need another measure.

A fit from whole networks knows the cells of a layer only up to a constant, which is in the fixed cost: the
cheapest candidate of each layer is close to zero, and a percentage of it says nothing. So what a layer's
cells moved by together is taken out, and the rest is compared with the layer's mean and with what the fits'
own errors let its cells scatter by.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot, pi, sqrt
from statistics import fmean, median

from ponas_deploy.tables.latency import LatencyTable

THRESHOLD_PCT, THRESHOLD_PP = 3.0, 0.5
"""A change counts from here on where no intervals say what noise is (latency, accuracy)."""
FITTED = f"{THRESHOLD_PCT:g} % or more of the layer's mean, and more than the fits scatter by"
"""What makes a change between fitted tables significant, in words."""
_SIGMAS = 4.0


@dataclass(frozen=True, slots=True)
class Change:
    """One cell in both tables: milliseconds, or percent (percentage points of loss without a top-1).

    `change` is in percent of the value before for latency (of that after where it was 0; of the layer's mean
    for a cell below it of a fitted table), in percentage points for accuracy. `significant` is more than
    noise, `own` is more than noise even without what all cells moved by together.
    """

    layer: str
    candidate: str
    before: float
    after: float
    change: float
    significant: bool
    own: bool = False


def changes_of_fits(before: LatencyTable, after: LatencyTable) -> tuple[tuple[Change, ...], float]:
    """The changes of all cells where a table was fitted, and the factor that all moved by together.

    Both have the same layers and candidates in the same order.
    """
    common = _common(before, after)
    found = []
    for layer, labels, old, new in zip(
        before.grid.layers, before.grid.candidates, before.grid.values, after.grid.values, strict=True
    ):
        scale, noise = fmean(old), hypot(_scatter_ms(before, len(old)), _scatter_ms(after, len(old)))
        least = max(THRESHOLD_PCT / 100 * scale, _SIGMAS * noise)
        moved = [[abs(away) >= least for away in _apart(old, new, factor)] for factor in (1.0, common)]
        for label, first, second, significant, own in zip(labels, old, new, *moved, strict=True):
            change = 100 * (second - first) / max(first, scale)
            found.append(Change(layer, label, first, second, change, significant, own))
    return tuple(found), common


def _apart(old: tuple[float, ...], new: tuple[float, ...], factor: float) -> list[float]:
    """What cells moved by from `factor` times what they were, in ms, without what their layer moved by."""
    away = [second - factor * first for first, second in zip(old, new, strict=True)]
    together = median(away)
    return [one - together for one in away]


def _common(before: LatencyTable, after: LatencyTable) -> float:
    """What differences within layers grew by: the weighted median of their ratios (least absolute errors)."""
    pairs = sorted(
        ((second - fmean(new)) / (first - fmean(old)), abs(first - fmean(old)))
        for old, new in zip(before.grid.values, after.grid.values, strict=True)
        for first, second in zip(old, new, strict=True)
        if first != fmean(old)
    )
    half, so_far = sum(weight for _, weight in pairs) / 2, 0.0
    for ratio, weight in pairs:
        so_far += weight
        if so_far >= half:
            return ratio
    return 1.0


def _scatter_ms(table: LatencyTable, candidates: int) -> float:
    """The standard error of a cell of a layer with so many candidates: its rows' errors over their number."""
    fit = table.protocol.fit
    if fit is None:
        return 0.0
    typical_ms = table.grid.fixed + sum(map(fmean, table.grid.values))
    sigma_ms = fit.mean_error_pct / 100 * sqrt(pi / 2) * typical_ms
    return sigma_ms / sqrt(max(fit.networks / candidates, 1.0))
