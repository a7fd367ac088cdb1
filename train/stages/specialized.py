"""A specialized network: SGD, from scratch or from weights that it inherits.

arXiv 2003.05112, section 4.1: Nesterov momentum 0.9, weight decay 4e-5, half a cosine from a learning rate of
0.045. Other recipes are in `train.settings.retraining`.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

from torch import nn

from train.compute import Compute, few_threads
from train.data import Splits
from train.networks import Network
from train.progress import OnProgress, silent
from train.settings import SpecializedSettings
from train.stages.distill import taught
from train.stages.epochs import Measured, TrainingStage, train_epochs
from train.stages.loop import decay_groups, evaluate, sgd, smoothed_cross_entropy
from train.stages.statistics import SUBNET_IMAGES, Statistics


def cosine(settings: SpecializedSettings, epoch: int) -> float:
    """The learning rate of an epoch (from 0): half a cosine, no restart (arXiv 1608.03983, equation 5)."""
    return 0.5 * settings.lr * (1 + math.cos(math.pi * epoch / settings.epochs))


def linear(settings: SpecializedSettings, epoch: int) -> float:
    """The learning rate of an epoch (from 0): in a line to 0."""
    return settings.lr * (1 - epoch / settings.epochs)


_DECAYS = {"cosine": cosine, "linear": linear}


def train_network(
    network: Network,
    splits: Splits,
    settings: SpecializedSettings,
    *,
    seed: int,
    compute: Compute,
    teacher: nn.Module | None = None,
    remeasured: bool = False,
    state: Path | None = None,
    on_progress: OnProgress = silent,
) -> None:
    """Train `network`, which lies on the device; `teacher` is learned from as the settings say.

    The accuracy that is told after an epoch is by the running statistics of batch norm; `remeasured`, for a
    network whose statistics are measured again in the end, by such as are measured again for it. See
    `train_epochs` for `state` and what is raised.
    """
    distillation, from_labels = settings.distillation, smoothed_cross_entropy(settings.label_smoothing)
    stage = TrainingStage(
        name="the network",
        stage="weights",
        key="finetune",
        settings=settings,
        lr=partial(_DECAYS[settings.decay], settings),
        objective=taught(teacher, distillation, from_labels) if teacher and distillation else from_labels,
        measure=partial(_remeasured, network, splits, settings, seed, compute) if remeasured else None,
    )
    weight_decay = settings.weight_decay
    parameters = network.parameters() if settings.norm_decay else decay_groups(network, weight_decay)
    optimizer = sgd(parameters, settings.lr, settings.momentum, weight_decay, nesterov=settings.nesterov)
    train_epochs(
        network, optimizer, splits, stage, seed=seed, compute=compute, state=state, on_progress=on_progress
    )


def _remeasured(
    network: Network, splits: Splits, settings: SpecializedSettings, seed: int, compute: Compute
) -> Measured:
    """The accuracy with batch norm measured again; the running statistics of training stay as they were."""
    kept = {name: tensor.clone() for name, tensor in network.named_buffers()}
    with few_threads(splits.resolution):
        Statistics.plain(splits, settings.batch, SUBNET_IMAGES, seed).measure([network], compute)
    found = evaluate(network, splits.validation, compute)
    for name, tensor in network.named_buffers():
        tensor.copy_(kept[name])
    return Measured(found)
