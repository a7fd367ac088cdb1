"""Cells that do not go with the rest of a table, told without knowing any shape (a CSV has none).

Costs nearly multiply: what a layer costs, times what a candidate costs in all layers. So the logarithms are
a sum of a row and a column, which a median polish finds whatever a few cells say (Tukey, "Exploratory Data
Analysis", 1977); what is left over is judged by its own median size. Over the shipped tables nothing is
further than 1.4 times from that. And layers repeat: blocks of one stage have one shape, so neighbours that
are alike in most of their cells are to be alike in all of them, and a layer between two such is like them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.files.findings import Finding
from ponas_deploy.tables.grid import Grid

Floats = NDArray[np.float64]

FAR, DEVIATIONS = 1.6, 5.0
"""A cell is odd from such a factor on, if that is so many robust standard deviations."""
ALIKE, APART = 1.1, 1.5
"""Layers are alike whose cells are within the first factor, by the median; one beyond the second is odd."""
BETWEEN = 1.8
"""A layer between two that are alike is odd from such a factor on; a stage that ends makes 1.5 of its own."""
_LEAST_LAYERS, _LEAST_CANDIDATES = 4, 3
_SWEEPS = 10
_ADVICE = "Measure it again, or say why it is so."


def odd_cells(grid: Grid) -> Iterator[Finding]:
    """Warnings about single cells, and about layers, that do not go with the others."""
    labels, logs = _logarithms(grid)
    if len(logs) < _LEAST_LAYERS or len(labels) < _LEAST_CANDIDATES:
        return
    odd = dict[tuple[int, int], str]()
    left = _polished(logs)
    spread = 1.4826 * float(np.nanmedian(np.abs(left)))
    for row, column in np.argwhere(np.abs(left) > max(np.log(FAR), DEVIATIONS * spread)).tolist():
        expected = float(np.exp(logs[row, column] - left[row, column]))
        text = f"where its layer and the same candidate in other layers make one expect {expected:.4g} ms"
        odd[row, column] = f"{text}: {_times(left[row, column])}."
    odd = {**dict(_unlike_neighbours(logs)), **odd}
    for (row, column), text in sorted(odd.items()):
        took = f"candidate '{labels[column]}' takes {float(np.exp(logs[row, column])):.4g} ms"
        yield Finding("warning", f"layer '{grid.layers[row]}'", f"{took}, {text}", _ADVICE)
    yield from _odd_layers(grid, logs)


def _logarithms(grid: Grid) -> tuple[list[str], Floats]:
    """Labels that most layers have, and log milliseconds (layers, labels), NaN where there is none."""
    counts = Counter(label for row in grid.candidates for label in row)
    labels = [label for label, count in counts.items() if 2 * count > len(grid.layers)]
    logs = np.full((len(grid.layers), len(labels)), np.nan)
    for row, (names, values) in enumerate(zip(grid.candidates, grid.values, strict=True)):
        found = dict(zip(names, values, strict=True))
        for column, label in enumerate(labels):
            value = found.get(label, np.nan)
            logs[row, column] = np.log(value) if np.isfinite(value) and value > 0 else np.nan
    return labels, logs


def _polished(logs: Floats) -> Floats:
    """What is left of (layers, labels) without the effects of rows and columns."""
    left = logs.copy()
    for _ in range(_SWEEPS):
        left -= _medians(left)[:, None]
        left -= _medians(left.T)
    return left


def _medians(rows: Floats) -> Floats:
    """The median of each row's numbers, 0 where it has none."""
    some = (row[~np.isnan(row)] for row in rows)
    return np.array([float(np.median(row)) if len(row) else 0.0 for row in some])


def _unlike_neighbours(logs: Floats) -> Iterator[tuple[tuple[int, int], str]]:
    """Cells far from those of a neighbour that is alike in most cells: the one further from the rest."""
    left = np.abs(_polished(logs))
    for row in range(len(logs) - 1):
        apart = logs[row + 1] - logs[row]
        if not _alike(apart):
            continue
        for column in np.flatnonzero(np.abs(apart) > np.log(APART)).tolist():
            at = row if left[row, column] > left[row + 1, column] else row + 1
            other = 2 * row + 1 - at
            near = f"and {float(np.exp(logs[other, column])):.4g} ms in the layer next to it"
            times = _times(logs[at, column] - logs[other, column])
            yield (at, column), f"{near}, like it in all else: {times}."


def _odd_layers(grid: Grid, logs: Floats) -> Iterator[Finding]:
    """Layers unlike the two that they lie between, which are alike."""
    for row in range(1, len(logs) - 1):
        around, apart = logs[row + 1] - logs[row - 1], logs[row] - logs[row - 1]
        if _alike(around) and not np.isnan(apart).all() and abs(np.nanmedian(apart)) > np.log(BETWEEN):
            before, after = grid.layers[row - 1], grid.layers[row + 1]
            message = (
                f"lies between layers '{before}' and '{after}', which are alike, and is not like them:"
                f" {_times(float(np.nanmedian(apart)))}."
            )
            yield Finding("warning", f"layer '{grid.layers[row]}'", message, _ADVICE)


def _alike(apart: Floats) -> bool:
    """Whether differences of logarithms say that two layers are of one shape: most cells are near."""
    known = apart[~np.isnan(apart)]
    return len(known) >= _LEAST_CANDIDATES and float(np.median(np.abs(known))) < np.log(ALIKE)


def _times(logarithm: float) -> str:
    """A factor in words."""
    factor = float(np.exp(abs(logarithm)))
    return f"{factor:.1f} times {'as much' if logarithm > 0 else 'less'}"
