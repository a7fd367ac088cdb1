"""What is said of engines in INT8: what they lose, where their scales come from, and what they gain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ponas_deploy.backends import INT8, QUANTISED, RunSettings, get_backend, registry
from ponas_deploy.engines.manifest import MODEL
from ponas_deploy.engines.precisions import PrecisionGain
from ponas_deploy.engines.task import WeightsSource
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.store import StoredTable

RANDOM_SCALES = (
    "the INT8 scales come from random images: the latency is real, and no answer of this engine can be relied"
    " on. Give images of your own with --calibration."
)
NOT_COUNTED = (
    "tables of int8 take part beside others, and what int8 loses is not counted: compare the top-1 through"
    " the engine."
)


def scale_warnings(weights: WeightsSource, conditions: Conditions) -> tuple[str, ...]:
    """A warning where an engine's scales come from no image of the user's."""
    return (RANDOM_SCALES,) if conditions.precision in QUANTISED and weights.images is None else ()


def fp32_top1_pct(folder: Path, weights: WeightsSource, conditions: Conditions) -> float | None:
    """Top-1 in percent of the portable network of an INT8 engine, in full precision on the same images.

    None for other precisions, and where there is nothing to measure on.
    """
    if conditions.precision not in QUANTISED or weights.top1_pct is None:
        return None
    model = (folder / MODEL).read_bytes()
    with get_backend(registry.reference_backend()).load(model, RunSettings()) as session:
        return weights.top1_pct(session, conditions.batch)


def gains_of(
    tables: Sequence[StoredTable], choices: Sequence[str], resolution: int
) -> tuple[PrecisionGain, ...]:
    """Of each runtime with tables in INT8 and in others: what INT8 gains for a network, by these tables."""
    found = list[PrecisionGain]()
    of_size = [one for one in tables if one.table.space is None or one.table.space.resolution == resolution]
    for stored in of_size:
        others = [one for one in of_size if _beside(one, stored)]
        if stored.conditions.precision != INT8 or not others:
            continue
        int8_ms = stored.table.predict_ms(choices)
        other_ms, other = min((one.table.predict_ms(choices), one.conditions.precision) for one in others)
        found.append(PrecisionGain(stored.conditions.backend, INT8, int8_ms, other, other_ms))
    return tuple(found)


def keeping_accuracy(tables: Sequence[StoredTable]) -> tuple[StoredTable, ...]:
    """The tables in precisions that lose no accuracy."""
    return tuple(one for one in tables if one.conditions.precision != INT8)


def _beside(one: StoredTable, int8: StoredTable) -> bool:
    return one.conditions.backend == int8.conditions.backend and one.conditions.precision != INT8
