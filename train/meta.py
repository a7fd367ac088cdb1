"""The meta network: the largest block in every layer, trained from scratch.

"Two-stage training", arXiv 2003.05112, section 3.2; hyperparameters from section 4.1.
"""

from __future__ import annotations

from pathlib import Path

import torch

from searchspace import Architecture, Space
from train.compute import Compute, threads
from train.crop import largest
from train.data import Splits
from train.errors import TrainingError
from train.loop import Evaluation, all_finite, evaluate, set_lr, sgd, train_epoch
from train.modules import Network, initialise
from train.progress import OnProgress, Progress, silent
from train.seeds import derive, generator, shuffled
from train.settings import MetaSettings
from train.state import load_state, save_state


def meta_architecture(space: Space) -> Architecture:
    """The largest candidate of every layer."""
    return Architecture(space, tuple(largest(layer).label for layer in space.layers))


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

    With `state`, a file that holds the state after each epoch, training goes on where that file
    ends, with the result of an unbroken run. Raises TrainingError when the loss is not finite.
    """
    network = Network(meta_architecture(space))
    initialise(network, generator(seed, "weights"))
    compute.place(network)
    optimizer = sgd(network.parameters(), settings.lr, settings.momentum, settings.weight_decay)
    start = load_state(state, network, optimizer, compute) if state and state.exists() else 0
    evaluation = evaluate(network, splits.validation, compute)
    for epoch in range(start, settings.epochs):
        with threads(settings.threads):
            _epoch(network, optimizer, splits, settings, epoch, seed, compute, on_progress, evaluation)
            evaluation = evaluate(network, splits.validation, compute)
        if not all_finite(network.state_dict()):
            raise TrainingError("the meta network", (epoch + 1) * _steps(splits, settings))
        if state:
            save_state(state, network, optimizer, epoch + 1)
    return network, evaluation


def _steps(splits: Splits, settings: MetaSettings) -> int:
    return max(len(splits.train.labels) // settings.batch, 1)


def _epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    splits: Splits,
    settings: MetaSettings,
    epoch: int,
    seed: int,
    compute: Compute,
    on_progress: OnProgress,
    before: Evaluation,
) -> None:
    steps = _steps(splits, settings)
    done = epoch * steps

    def after_step(loss: float) -> None:
        nonlocal done
        done += 1
        text = f"epoch {epoch + 1} of {settings.epochs}"
        metrics = (("cross_entropy", loss), ("validation_top1_pct", before.top1_pct))
        on_progress(Progress("meta", done, settings.epochs * steps, text, metrics))

    order = shuffled(len(splits.train.labels), settings.batch, "meta", epoch, seed=seed)
    augment = derive(seed, "augment", epoch) if settings.augment else None
    batches = splits.train.batches(settings.batch, order, augment)
    set_lr(optimizer, stepped(settings, epoch))
    with compute.seeded(derive(seed, "dropout", epoch)):
        train_epoch(network, optimizer, batches, compute, "the meta network", done + 1, after_step)
