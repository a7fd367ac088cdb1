"""A network with inherited weights: batch norm recalibrated, fine-tuned where asked."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ponas_deploy.errors import PonasError
from ponas_deploy.files.weights import Arrays, read_weights
from searchspace import Architecture
from searchspace.weights import Weights, inherit
from train.compute import Compute, derive, few_threads, shuffled
from train.data import Splits
from train.networks import Network, load_arrays, to_arrays
from train.progress import OnProgress, TrainingProgress, silent
from train.settings import SpecializedSettings
from train.stages.loop import recalibrate
from train.stages.specialized import train_network

CALIBRATION_IMAGES = 8192
ELASTIC_IMAGES, ELASTIC_BATCH = 2000, 200
"""Of a network of Once-for-all, as its authors measure its statistics (github.com/mit-han-lab/once-for-all
@f03b267): on augmented training images, averages over batches of mean and biased variance."""


def inherited_weights(
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
    images, because those of the supernet belong to the neighbours a block was trained with; those of an
    elastic supernet as its authors do.
    Raises WeightsError when the file does not fit the architecture, PonasError when the images do not.
    """
    refuse_other_space(architecture, splits)
    compute = Compute.on(device)
    file = read_weights(weights)
    network = inherited_network(architecture, file.tensors, compute)
    if finetune_epochs:
        settings = SpecializedSettings(finetune_epochs, batch, lr)
        train_network(network, splits, settings, seed=seed, compute=compute, on_progress=on_progress)
    if file.elastic and not finetune_epochs:
        _recalibrate_elastic(network, splits, seed, compute, on_progress)
    else:
        recalibrate_batch_norm(network, splits, batch, seed, compute)
    return to_arrays(network.state_dict())


def elastic_order(splits: Splits, seed: int) -> Tensor:
    """The training images that measure the statistics of a network of an elastic supernet."""
    return shuffled(len(splits.train.labels), ELASTIC_BATCH, "statistics", seed=seed)[:ELASTIC_IMAGES]


def _recalibrate_elastic(
    network: Network, splits: Splits, seed: int, compute: Compute, on_progress: OnProgress
) -> None:
    order = elastic_order(splits, seed)

    def report(seen: int) -> None:
        on_progress(TrainingProgress("weights", seen, len(order), "recalibrating batch norm"))

    with few_threads(splits.resolution):
        recalibrate(
            [network],
            splits.train,
            order,
            ELASTIC_BATCH,
            compute,
            augment=derive(seed, "statistics"),
            biased=True,
            on_images=report,
        )


def refuse_other_space(architecture: Architecture, splits: Splits) -> None:
    """PonasError when a network's classes or resolution are not those of the images."""
    space = architecture.space
    if (space.classes, space.resolution) != (splits.classes, splits.resolution):
        raise PonasError(
            f"the network is made for {space.classes} classes at {space.resolution} px, but '{splits.name}'"
            f" has {splits.classes} classes at {splits.resolution} px: build the space for these images."
        )


def inherited_network(architecture: Architecture, tensors: Weights, compute: Compute) -> Network:
    """A network on the device with weights of a supernet, or its own; WeightsError when they do not fit."""
    network = Network(architecture)
    load_arrays(network, inherit(tensors, architecture))
    return compute.place(network)


def recalibrate_batch_norm(network: Network, splits: Splits, batch: int, seed: int, compute: Compute) -> None:
    """Measure the batch norm statistics of a network again, on training images."""
    order = shuffled(len(splits.train.labels), batch, "statistics", seed=seed)[:CALIBRATION_IMAGES]
    with few_threads(splits.resolution):
        recalibrate([network], splits.train, order, batch, compute)
