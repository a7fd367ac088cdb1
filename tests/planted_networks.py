"""Networks whose truth is known: additive ones with noise, and every way in which rows mislead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.tables.networks_csv import Kind, Networks

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Truth = Callable[["Plant", Ints], Floats]


@dataclass(frozen=True)
class Plant:
    """A space of `layers` x `labels` with the cost of each cell, from a seed."""

    labels: tuple[str, ...]
    costs: tuple[Floats, ...]
    rng: np.random.Generator
    fixed: float = 8.0

    @classmethod
    def of(cls, layers: int, candidates: int, seed: int) -> Plant:
        rng = np.random.default_rng([layers, candidates, seed])
        costs = tuple(rng.uniform(0, 1, candidates) * rng.uniform(0.5, 2) for _ in range(layers))
        return cls(tuple(f"op{index}" for index in range(candidates)), costs, rng)

    def draw(self, rows: int, repeated: float = 0.0) -> Ints:
        """Random networks; a share of the rows measure a network again, anywhere in the file."""
        drawn = self.rng.integers(0, len(self.labels), (rows, len(self.costs)))
        again = int(rows * repeated)
        if again:
            drawn[-again:] = drawn[:again]
        return drawn[self.rng.permutation(rows)]

    def sums(self, drawn: Ints, layers: slice = slice(None)) -> Floats:
        numbers = range(len(self.costs))[layers]
        return np.sum([self.costs[layer][drawn[:, layer]] for layer in numbers], axis=0)

    def noisy(self, truth: Floats, noise: float = 0.01) -> Floats:
        return truth * (1 + noise * self.rng.standard_normal(len(truth)))

    def networks(self, drawn: Ints, values: Floats | None, kind: Kind = "latency") -> Networks:
        layers = tuple(f"layer{index}" for index in range(drawn.shape[1]))
        choices = tuple(tuple(self.labels[index] for index in row) for row in drawn)
        lines = tuple(range(2, len(choices) + 2))
        found = () if values is None else tuple(map(float, values))
        return Networks(Path("planted.csv"), layers, choices, found, None if values is None else kind, lines)


def additive(plant: Plant, drawn: Ints) -> Floats:
    return plant.fixed + plant.sums(drawn)


def two_streams(plant: Plant, drawn: Ints) -> Floats:
    """The slower of two halves that run side by side."""
    middle = len(plant.costs) // 2
    one, other = plant.sums(drawn, slice(0, middle)), plant.sums(drawn, slice(middle, None))
    return 4 + np.maximum(one, other * one.mean() / other.mean())


def host_bound(plant: Plant, drawn: Ints) -> Floats:
    """Nothing is faster than the host: half of the networks wait for it."""
    found = additive(plant, drawn)
    return np.maximum(found, np.median(found))


def saturating(plant: Plant, drawn: Ints) -> Floats:
    found = additive(plant, drawn)
    return np.minimum(found, np.quantile(found, 0.6))


def bottleneck(plant: Plant, drawn: Ints) -> Floats:
    """The slowest layer alone decides."""
    return 4 + 3 * np.max([cost[drawn[:, layer]] for layer, cost in enumerate(plant.costs)], axis=0)


def paired(plant: Plant, drawn: Ints) -> Floats:
    """Each layer costs as much as it and the next one say together."""
    found = np.full(len(drawn), 4.0)
    for layer in range(len(plant.costs) - 1):
        found += plant.costs[layer][drawn[:, layer]] * plant.costs[layer + 1][drawn[:, layer + 1]]
    return found


def write(path: Path, networks: Networks) -> Path:
    """The networks as CSV, with values where they have any."""
    column = {"latency": ["latency_ms"], "accuracy": ["top1_pct"], None: []}[networks.kind]
    lines = [",".join([*networks.layers, *column])]
    for row, choices in enumerate(networks.choices):
        lines.append(",".join([*choices, *([repr(networks.values[row])] if column else [])]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def planted(
    truth: Truth,
    rows: int,
    seed: int,
    noise: float = 0.01,
    size: tuple[int, int] = (22, 9),
    again: float = 0.0,
) -> tuple[Plant, Networks]:
    plant = Plant.of(*size, seed)
    drawn = plant.draw(rows, again)
    return plant, plant.networks(drawn, plant.noisy(truth(plant, drawn), noise))
