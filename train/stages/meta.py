"""The meta network: the largest block in every layer, trained from scratch.

"Two-stage training", arXiv 2003.05112, section 3.2; hyperparameters from section 4.1.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from searchspace import Architecture, Space
from train.compute import Compute, generator
from train.data import Splits
from train.networks import Network, initialise
from train.progress import Evaluation, OnProgress, silent
from train.settings import MetaSettings
from train.stages.epochs import TrainingStage, train_epochs
from train.stages.loop import sgd


def meta_architecture(space: Space) -> Architecture:
    """The largest candidate of every layer."""
    return Architecture(space, tuple(layer.largest.label for layer in space.layers))


def stepped(settings: MetaSettings, epoch: int) -> float:
    """The learning rate of an epoch (from 0): tenfold lower after each fraction in `decay_at`."""
    decays = sum(epoch >= round(fraction * settings.epochs) for fraction in settings.decay_at)
    return settings.lr * 0.1**decays


def train_meta(
    space: Space,
    splits: Splits,
    settings: MetaSettings,
    *,
    seed: int,
    compute: Compute,
    state: Path | None = None,
    on_progress: OnProgress = silent,
) -> tuple[Network, Evaluation]:
    """Train the meta network; it and its accuracy on the validation images.

    See `train.stages.epochs.train_epochs` for `state` and what is raised.
    """
    network = Network(meta_architecture(space))
    initialise(network, generator(seed, "weights"))
    compute.place(network)
    optimizer = sgd(network.parameters(), settings.lr, settings.momentum, settings.weight_decay)
    stage = TrainingStage(
        "the meta network", "meta", "meta", settings, partial(stepped, settings), remedy="meta.batch ="
    )
    evaluation = train_epochs(
        network, optimizer, splits, stage, seed=seed, compute=compute, state=state, on_progress=on_progress
    )
    return network, evaluation
