"""Which paths of a supernet train in a step: the rules of sampling.

SPOS (arXiv 1904.00420, section 3.2) draws uniformly; FairNAS (arXiv 1907.01845, section 3.2) lets no
candidate be trained more often than another, in as many steps as a layer has candidates, or in one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ponas_deploy.errors import PonasError
from searchspace import Space, SpaceError
from train.networks.paths import Paths
from train.settings.single_path import Sampling

Path = tuple[str, ...]
Labels = tuple[tuple[str, ...], ...]


class Uniform:
    """One path a step: an independent candidate a layer, each as likely as another.

    SpaceError for a space with stages, whose layers are not independent.
    """

    def __init__(self, space: Space) -> None:
        self._labels = _independent(space)

    def next(self) -> list[Path]:
        """A new one."""
        return [tuple(labels[int(torch.randint(len(labels), ()))] for labels in self._labels)]

    def restart(self) -> None:
        """Nothing is left over."""


class FairNas:
    """As many paths a step as a layer has candidates: every candidate is on exactly one of them.

    SpaceError for a space with stages, PonasError for one whose layers have different numbers of candidates.
    """

    def __init__(self, space: Space) -> None:
        self._labels = _equally_many(space)

    def next(self) -> list[Path]:
        """All of them, the candidates of each layer in a new random order."""
        return _fair(self._labels)

    def restart(self) -> None:
        """Nothing is left over."""


class StrictFairness:
    """The paths of `FairNas`, one a step, until none is left.

    An epoch begins with new ones: where its steps are no multiple of a layer's candidates, some of them have
    trained once less than others in it.
    """

    def __init__(self, space: Space) -> None:
        self._labels, self._left = _equally_many(space), list[Path]()

    def next(self) -> list[Path]:
        """The next one."""
        self._left = self._left or _fair(self._labels)
        return [self._left.pop(0)]

    def restart(self) -> None:
        """The paths that are left over are dropped."""
        self._left = []


def _independent(space: Space) -> Labels:
    """The candidates of layers that are chosen independently of each other."""
    if space.stages:
        raise SpaceError(
            f"space '{space.name}' leaves out layers from the end of a stage only, which paths that are drawn"
            " layer by layer break: train it by progressive shrinking (recipe=shrinking)."
        )
    return space.labels


def _equally_many(space: Space) -> Labels:
    """The candidates of layers that have equally many."""
    labels = _independent(space)
    counts = {len(layer) for layer in labels}
    if len(counts) != 1:
        raise PonasError(
            f"space '{space.name}' has layers of {min(counts)} to {max(counts)} candidates: strict"
            f" fairness needs as many in each, so that every path has one."
        )
    return labels


def _fair(labels: Labels) -> list[Path]:
    """Paths with every candidate on exactly one of them, those of each layer in a random order."""
    orders = [[layer[index] for index in torch.randperm(len(layer))] for layer in labels]
    return list(zip(*orders, strict=True))


RULES: dict[Sampling, Callable[[Space], Paths]] = {
    "uniform": Uniform,
    "strict-fairness": StrictFairness,
    "fairnas": FairNas,
}
"""By their names in the settings."""
