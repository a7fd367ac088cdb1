"""Which paths of a supernet train in a step: the rules of sampling.

SPOS (arXiv 1904.00420, section 3.2) draws uniformly; FairNAS (arXiv 1907.01845, section 3.2) lets no
candidate be trained more often than another, in as many steps as a layer has candidates, or in one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ponas_deploy.errors import PonasError
from searchspace import Space
from train.networks.paths import Paths
from train.settings.single_path import Sampling

Path = tuple[str, ...]


class Uniform:
    """One path a step: an independent candidate a layer, each as likely as another."""

    def __init__(self, space: Space) -> None:
        self._labels = space.labels

    def next(self) -> list[Path]:
        """A new one."""
        return [tuple(labels[int(torch.randint(len(labels), ()))] for labels in self._labels)]

    def restart(self) -> None:
        """Nothing is left over."""


class FairNas:
    """As many paths a step as a layer has candidates: every candidate is on exactly one of them.

    PonasError for a space whose layers have different numbers of candidates.
    """

    def __init__(self, space: Space) -> None:
        counts = {len(layer.candidates) for layer in space.layers}
        if len(counts) != 1:
            raise PonasError(
                f"space '{space.name}' has layers of {min(counts)} to {max(counts)} candidates: strict"
                f" fairness needs as many in each, so that every path has one."
            )
        self._labels, self.count = space.labels, counts.pop()

    def next(self) -> list[Path]:
        """All of them, the candidates of each layer in a new random order."""
        orders = [[labels[index] for index in torch.randperm(self.count)] for labels in self._labels]
        return list(zip(*orders, strict=True))

    def restart(self) -> None:
        """Nothing is left over."""


class StrictFairness(FairNas):
    """The same paths, one a step, until none is left."""

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        self._left = list[Path]()

    def next(self) -> list[Path]:
        """The next one."""
        self._left = self._left or super().next()
        return [self._left.pop(0)]

    def restart(self) -> None:
        """The paths that are left over are dropped."""
        self._left = []


RULES: dict[Sampling, Callable[[Space], Paths]] = {
    "uniform": Uniform,
    "strict-fairness": StrictFairness,
    "fairnas": FairNas,
}
"""By their names in the settings."""
