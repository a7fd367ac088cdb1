"""A specialized network: SGD along half a cosine, from scratch or from weights that it inherits.

arXiv 2003.05112, section 4.1: Nesterov momentum 0.9, weight decay 4e-5, learning rate 0.045.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

from torch import nn

from train.compute import Compute
from train.data import Splits
from train.networks import Network
from train.progress import OnProgress, silent
from train.settings import SpecializedSettings
from train.stages.distill import taught
from train.stages.epochs import TrainingStage, train_epochs
from train.stages.loop import cross_entropy, sgd


def cosine(settings: SpecializedSettings, epoch: int) -> float:
    """The learning rate of an epoch (from 0): half a cosine, no restart (arXiv 1608.03983, equation 5)."""
    return 0.5 * settings.lr * (1 + math.cos(math.pi * epoch / settings.epochs))


def train_network(
    network: Network,
    splits: Splits,
    settings: SpecializedSettings,
    *,
    seed: int,
    compute: Compute,
    teacher: nn.Module | None = None,
    state: Path | None = None,
    on_progress: OnProgress = silent,
) -> None:
    """Train `network`, which lies on the device; `teacher` is learned from as the settings say.

    See `train_epochs` for `state` and what is raised.
    """
    distillation = settings.distillation
    stage = TrainingStage(
        name="the network",
        stage="weights",
        key="finetune",
        settings=settings,
        lr=partial(cosine, settings),
        objective=taught(teacher, distillation) if teacher and distillation else cross_entropy,
    )
    optimizer = sgd(
        network.parameters(), settings.lr, settings.momentum, settings.weight_decay, nesterov=True
    )
    train_epochs(
        network, optimizer, splits, stage, seed=seed, compute=compute, state=state, on_progress=on_progress
    )
