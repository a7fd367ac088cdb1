"""A specialised network: inherited weights, batch norm measured anew, fine-tuned where asked.

Fine-tuning follows arXiv 2003.05112, section 4.1: SGD with Nesterov momentum 0.9, weight decay 4e-5,
learning rate falling along a cosine.
"""

from __future__ import annotations

import math
from pathlib import Path

from ponas_deploy.errors import PonasError
from ponas_deploy.weights import Arrays, read_weights
from searchspace import Architecture
from searchspace.weights import inherit
from train.compute import Compute
from train.data import Splits
from train.loop import recalibrate, set_lr, sgd, train_epoch
from train.modules import Network
from train.progress import OnProgress, Progress, silent
from train.seeds import derive, shuffled
from train.weights import load_arrays, to_arrays

CALIBRATION_IMAGES = 8192


def specialised(
    architecture: Architecture,
    weights: Path,
    splits: Splits,
    *,
    finetune_epochs: int = 0,
    lr: float = 0.01,
    batch: int = 64,
    seed: int = 0,
    device: str = "auto",
    on_progress: OnProgress = silent,
) -> Arrays:
    """The weights of `architecture` as float32 arrays, ready for an engine.

    `weights` is a supernet's or a network's file. Batch norm statistics are measured on training
    images, because those of the supernet belong to the neighbours a block was trained with.
    Raises WeightsError when the file does not fit the architecture, PonasError when the images do not.
    """
    space = architecture.space
    if (space.classes, space.resolution) != (splits.classes, splits.resolution):
        raise PonasError(
            f"the network is made for {space.classes} classes at {space.resolution} px, but '{splits.name}'"
            f" has {splits.classes} classes at {splits.resolution} px: build the space for these images."
        )
    compute = Compute.on(device)
    network = Network(architecture)
    load_arrays(network, inherit(read_weights(weights).tensors, architecture))
    compute.place(network)
    if finetune_epochs:
        _fine_tune(network, splits, finetune_epochs, lr, batch, seed, compute, on_progress)
    order = shuffled(len(splits.train.labels), batch, "statistics", seed=seed)[:CALIBRATION_IMAGES]
    recalibrate([network], splits.train, order, batch, compute)
    return to_arrays(network.state_dict())


def _fine_tune(
    network: Network,
    splits: Splits,
    epochs: int,
    lr: float,
    batch: int,
    seed: int,
    compute: Compute,
    on_progress: OnProgress,
) -> None:
    optimizer = sgd(network.parameters(), lr, momentum=0.9, weight_decay=4e-5, nesterov=True)
    steps = max(len(splits.train.labels) // batch, 1)
    for epoch in range(epochs):
        done = epoch * steps

        def after_step(loss: float, epoch: int = epoch) -> None:
            nonlocal done
            done += 1
            text = f"epoch {epoch + 1} of {epochs}"
            on_progress(Progress("weights", done, epochs * steps, text, (("cross_entropy", loss),)))

        set_lr(optimizer, 0.5 * lr * (1 + math.cos(math.pi * epoch / epochs)))
        order = shuffled(len(splits.train.labels), batch, "finetune", epoch, seed=seed)
        batches = splits.train.batches(batch, order, derive(seed, "augment", epoch))
        with compute.seeded(derive(seed, "dropout", epoch)):
            train_epoch(network, optimizer, batches, compute, "fine-tuning", done + 1, after_step)
