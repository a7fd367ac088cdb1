"""A common start for the candidates of a supernet: each learns to give what its layer gives in one network.

First the network of each layer's first candidate trains alone. Then blockwise distillation (DNA, arXiv
1911.13053, section 3.2): every layer sees the features that it has in that network, and a random candidate of
it learns to reproduce those behind it. Layers learn from their own error alone, so that random paths do not
disturb each other, as they do while nothing works yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from searchspace import Architecture, Layer, Space
from train.compute import Compute, generator
from train.data import Splits
from train.networks import Network, initialise
from train.networks.paths import PathSupernet
from train.progress import OnProgress, silent
from train.settings import SinglePathSettings
from train.stages.epochs import TrainingStage, train_epochs
from train.stages.loop import sgd
from train.stages.single_path import linear, watched

_LR = 0.02
"""Of Adam, in the first epoch; it falls in a line to 0. On the digits SGD needed several times as long."""
_LEAST_VARIANCE = 1e-6
"""Of features that an error is a fraction of; features of a dead layer have none."""


def train_first(
    space: Space,
    splits: Splits,
    settings: SinglePathSettings,
    *,
    seed: int,
    compute: Compute,
    state: Path | None = None,
    on_progress: OnProgress = silent,
) -> Network:
    """Train the network of first candidates from random weights for `settings.epochs`.

    See `epochs.train_epochs` for `state` and what is raised.
    """
    network = Network(Architecture(space, tuple(layer.candidates[0].label for layer in space.layers)))
    initialise(network, generator(seed, "weights"))
    compute.place(network)
    stage = TrainingStage(
        "the first network",
        "first",
        "first",
        settings,
        partial(linear, settings),
        remedy="single_path.batch =",
    )
    train_epochs(
        network,
        sgd(network.parameters(), settings.lr, settings.momentum, settings.weight_decay),
        splits,
        stage,
        seed=seed,
        compute=compute,
        state=state,
        on_progress=on_progress,
    )
    return network


def train_imitation(
    supernet: PathSupernet,
    teacher: Network,
    splits: Splits,
    settings: SinglePathSettings,
    *,
    seed: int,
    compute: Compute,
    state: Path | None = None,
    on_progress: OnProgress = silent,
) -> None:
    """Take over the blocks of `teacher`, then let the other candidates imitate them; both lie on the device.

    `settings.epochs` and `settings.batch` are those of the imitation, which has a rate of its own. See
    `epochs.train_epochs` for `state` and what is raised.
    """
    imitation = _Imitation(supernet, teacher)
    learning = list(imitation.learning())
    if not learning:  # beside the teacher's blocks there is none with weights
        return
    stage = TrainingStage(
        "the candidates that imitate",
        "imitation",
        "imitation",
        settings,
        lambda epoch: _LR * linear(settings, epoch) / settings.lr,
        _sum,
        remedy="single_path.batch =",
        measure=partial(watched, supernet, splits, seed, compute),
    )
    train_epochs(
        imitation,
        torch.optim.Adam(learning, _LR),
        splits,
        stage,
        seed=seed,
        compute=compute,
        state=state,
        on_progress=on_progress,
    )


class _Imitation(nn.Module):
    """Images (N, 3, resolution, resolution) -> the errors of one random candidate a layer.

    An error is the mean square of the differences from the teacher's features over their variance: 1 for a
    candidate that gives the mean and nothing else.
    """

    def __init__(self, supernet: PathSupernet, teacher: Network) -> None:
        super().__init__()
        self.supernet = supernet
        # A list: the teacher is no part of the state.
        self._teacher = [part.eval().requires_grad_(False) for part in teacher.parts()]
        supernet.stem.load_state_dict(teacher.stem.state_dict())
        supernet.head.load_state_dict(teacher.head.state_dict())
        for layer, label in zip(supernet.space.layers, teacher.architecture.choices, strict=True):
            block = supernet.layers[layer.name][label]  # type: ignore[index]
            block.load_state_dict(teacher.layers[layer.name].state_dict())
        self._others = [
            self._learners(layer, label)
            for layer, label in zip(supernet.space.layers, teacher.architecture.choices, strict=True)
        ]

    def _learners(self, layer: Layer, own: str) -> list[nn.Module]:
        """The candidates with weights, without the teacher's own."""
        blocks: nn.ModuleDict = self.supernet.layers[layer.name]  # type: ignore[assignment]
        return [
            block for label, block in blocks.items() if label != own and any(True for _ in block.parameters())
        ]

    def learning(self) -> Iterator[nn.Parameter]:
        """What trains."""
        return chain.from_iterable(block.parameters() for block in chain.from_iterable(self._others))

    def forward(self, images: Tensor) -> Tensor:
        """See the class; (layers that have another candidate,)."""
        with torch.no_grad():
            x = self._teacher[0](images)
        errors = []
        for block, others in zip(self._teacher[1:-1], self._others, strict=True):
            with torch.no_grad():
                wanted = block(x)
            if others:
                found = others[int(torch.randint(len(others), ()))](x)
                variance = wanted.float().var().clamp(min=_LEAST_VARIANCE)
                errors.append((found.float() - wanted.float()).square().mean() / variance)
            x = wanted
        return torch.stack(errors)


def _sum(errors: Tensor, labels: Tensor, images: Tensor) -> Tensor:
    return errors.sum()
