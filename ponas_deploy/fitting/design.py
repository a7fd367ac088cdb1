"""Networks as columns of zeros and ones, without ever writing the zeros.

A network of L layers is L ones among P cells (all candidates of all layers). Everything a least-squares
fit needs of N networks is the P x P matrix of how often two cells stand in one network, weighted: N L^2
additions, whatever P is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Layout:
    """Which cells there are: layers and their candidates, numbered through from 0 to P - 1."""

    layers: tuple[str, ...]
    candidates: tuple[tuple[str, ...], ...]

    @property
    def starts(self) -> Ints:
        """The first cell of each layer, and P behind the last: (L + 1,)."""
        return np.cumsum([0, *map(len, self.candidates)], dtype=np.intp)

    @property
    def size(self) -> int:
        """P, the number of cells."""
        return sum(map(len, self.candidates))

    @property
    def layer_of(self) -> Ints:
        """The layer of each cell, (P,)."""
        return np.repeat(np.arange(len(self.layers)), list(map(len, self.candidates)))

    def cells(self, choices: Sequence[Sequence[str]]) -> Ints:
        """The cells of networks, (N, L)."""
        columns = []
        chosen_by_layer = zip(*choices, strict=True)
        for start, labels, chosen in zip(self.starts, self.candidates, chosen_by_layer, strict=False):
            number = {label: start + index for index, label in enumerate(labels)}
            columns.append([number[label] for label in chosen])
        return np.array(columns, dtype=np.intp).T

    def split(self, values: Floats) -> list[Floats]:
        """Values of cells (P,) layer by layer."""
        return np.split(values, self.starts[1:-1])


def counts(cells: Ints, size: int, weights: Floats) -> Floats:
    """How often two cells stand in one network, weighted: (P, P). The diagonal counts each cell."""
    found = np.zeros((size, size))
    for layer, column in enumerate(cells.T):
        low, high, later = int(column.min()), int(column.max()) + 1, cells[:, layer + 1 :]
        pairs = ((column - low)[:, None] * size + later).ravel()
        spread = np.repeat(weights, later.shape[1])
        found[low:high] += np.bincount(pairs, spread, (high - low) * size).reshape(-1, size)
    return found + found.T + np.diag(sums(cells, size, weights))


def sums(cells: Ints, size: int, values: Floats) -> Floats:
    """The sum of a value over the networks that hold each cell: (P,) of values (N,)."""
    found = np.bincount(cells.ravel(), np.repeat(values, cells.shape[1]), size)
    return np.asarray(found, dtype=np.float64)


def factors(label: str) -> dict[str, str]:
    """What a label is made of: `k5e3se` is {k: 5, e: 3, se: yes}; empty where nothing can be read."""
    found = re.findall(r"([A-Za-z]+)[_=-]?(\d+(?:\.\d+)?)?", label)
    return {name.lower(): number or "yes" for name, number in found}


def priors(layout: Layout) -> dict[str, Floats]:
    """How cells may be alike before any network is seen: lower roots R (P, P) of covariances R R'.

    `cells`: nothing is alike; a ridge toward the layer's mean. `labels`: the same label in other
    layers. `factors`: cells of a layer with the same kernel, expansion or squeeze-and-excite (any
    parts that labels are made of), `shared factors`: of all layers. All leave a share to the cell.
    """
    size = layout.size
    labels = [label for row in layout.candidates for label in row]
    found = {"cells": np.eye(size)}
    same = _alike(labels)
    if len(layout.layers) > 1 and (same.sum(axis=1) > 1).mean() > 0.5:
        found["labels"] = 0.4 * np.eye(size) + 0.6 * same
    parts = [factors(label) for label in labels]
    names = sorted({name for part in parts for name in part})
    columns = [[part.get(name, "no") for part in parts] for name in names]
    columns = [column for column in columns if len(set(column)) > 1]
    if 2 <= len(columns) <= 8:
        layer = layout.layer_of
        likeness = np.mean([_alike(column) for column in columns], axis=0)
        local = likeness * (layer[:, None] == layer)
        found["factors"] = 0.15 * np.eye(size) + 0.85 * local
        found["shared factors"] = 0.1 * np.eye(size) + 0.4 * local + 0.5 * likeness
    return {name: np.asarray(np.linalg.cholesky(one), np.float64) for name, one in found.items()}


def _alike(names: Sequence[str]) -> Floats:
    number = {name: index for index, name in enumerate(dict.fromkeys(names))}
    codes = np.array([number[name] for name in names])
    return np.asarray(codes[:, None] == codes, dtype=np.float64)
