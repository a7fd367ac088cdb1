"""An additive cost or loss: one value a layer and candidate, and a constant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.errors import ArchitectureError, TableMismatchError, UnknownNameError
from ponas_deploy.files.bounds import Classes, Resolution
from searchspace.space import Space


@dataclass(frozen=True, slots=True)
class SpaceKey:
    """Which space a table belongs to, and at what resolution (pixels) and classes it was made."""

    name: str
    fingerprint: str
    resolution: Resolution
    classes: Classes

    @classmethod
    def of(cls, space: Space) -> SpaceKey:
        """The key of a space."""
        return cls(space.name, space.fingerprint, space.resolution, space.classes)

    @property
    def options(self) -> str:
        """What a person adds to a command for it to be about this space."""
        return f"--space {self.name} --resolution {self.resolution} --classes {self.classes}"

    def document(self) -> dict[str, str | int]:
        """The key as JSON."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "resolution": self.resolution,
            "classes": self.classes,
        }


@dataclass(frozen=True, slots=True)
class Grid:
    """Values that add up over layers: `fixed + sum(values[l][choice of l])`.

    Layers and candidates are any labels; each layer has its own candidates. The unit is in the name
    of the field that holds the grid.
    """

    layers: tuple[str, ...]
    candidates: tuple[tuple[str, ...], ...] = field(repr=False)
    values: tuple[tuple[float, ...], ...] = field(repr=False)
    fixed: float = 0.0

    @classmethod
    def over(cls, space: Space, values: Iterable[Sequence[float]], fixed: float = 0.0) -> Grid:
        """Values (layers, candidates) in the order of a space."""
        layers = tuple(layer.name for layer in space.layers)
        return cls(layers, space.labels, tuple(tuple(map(float, row)) for row in values), float(fixed))

    @property
    def extremes(self) -> tuple[float, float]:
        """The least and the greatest total, of the cheapest and of the dearest candidate of every layer."""
        return self.fixed + sum(map(min, self.values)), self.fixed + sum(map(max, self.values))

    def arrays(self) -> list[NDArray[np.float64]]:
        """One array a layer, for the search."""
        return [np.array(row, dtype=np.float64) for row in self.values]

    def indices(self, choices: Sequence[str]) -> tuple[int, ...]:
        """The position of each label among its layer's candidates."""
        if len(choices) != len(self.layers):
            raise ArchitectureError(
                f"{len(choices)} choices were given, but the table has {len(self.layers)} layers."
            )
        found = []
        for layer, labels, choice in zip(self.layers, self.candidates, choices, strict=True):
            if choice not in labels:
                raise UnknownNameError(f"candidate of layer {layer}", choice, labels)
            found.append(labels.index(choice))
        return tuple(found)

    def total(self, choices: Sequence[str]) -> float:
        """The sum for a network, `fixed` included."""
        return self.fixed + math.fsum(
            row[index] for row, index in zip(self.values, self.indices(choices), strict=True)
        )

    def labels(self, indices: Sequence[int]) -> tuple[str, ...]:
        """The labels at `indices`."""
        return tuple(labels[int(index)] for labels, index in zip(self.candidates, indices, strict=True))

    def scaled(self, factor: float) -> Grid:
        """Every value times `factor`."""
        values = tuple(tuple(value * factor for value in row) for row in self.values)
        return replace(self, values=values, fixed=self.fixed * factor)

    def aligned_to(self, other: Grid, mine: str, theirs: str) -> Grid:
        """This grid in the order of another with the same layers and candidates.

        TableMismatchError names the first difference; `mine` and `theirs` say what the grids are.
        """
        if set(self.layers) != set(other.layers):
            only = sorted(set(self.layers) ^ set(other.layers))
            where = theirs if only[0] in other.layers else mine
            raise TableMismatchError(
                f"layer '{only[0]}' is only in {where}: both tables need the same layers"
                f" ({len(self.layers)} in {mine}, {len(other.layers)} in {theirs})."
            )
        rows, labels = dict(zip(self.layers, self.values, strict=True)), {}
        for layer, names in zip(self.layers, self.candidates, strict=True):
            labels[layer] = names
        values = []
        for layer, wanted in zip(other.layers, other.candidates, strict=True):
            if set(wanted) != set(labels[layer]):
                only = sorted(set(wanted) ^ set(labels[layer]))
                where = theirs if only[0] in wanted else mine
                raise TableMismatchError(f"layer '{layer}': candidate '{only[0]}' is only in {where}.")
            row = dict(zip(labels[layer], rows[layer], strict=True))
            values.append(tuple(row[label] for label in wanted))
        return Grid(other.layers, other.candidates, tuple(values), self.fixed)
