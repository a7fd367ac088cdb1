"""A network with inherited weights: batch norm recalibrated, fine-tuned where asked."""

from __future__ import annotations

from pathlib import Path

from ponas_deploy.errors import PonasError
from ponas_deploy.files.weights import Arrays, read_weights
from searchspace import Architecture
from searchspace.weights import Weights, inherit
from train.compute import Compute, few_threads
from train.data import Splits
from train.networks import Network, load_arrays, to_arrays
from train.progress import OnProgress, TrainingProgress, silent
from train.settings import SpecializedSettings
from train.stages.specialized import train_network
from train.stages.statistics import Statistics

CALIBRATION_IMAGES = 8192


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
    elastic supernet as its authors do, unless `finetune_epochs` have made it a network of its own.
    Raises WeightsError when the file does not fit the architecture, PonasError when the images do not.
    """
    refuse_other_space(architecture, splits)
    compute = Compute.on(device)
    file = read_weights(weights)
    network = inherited_network(architecture, file.tensors, compute)
    if finetune_epochs:
        settings = SpecializedSettings(finetune_epochs, batch, lr)
        train_network(
            network, splits, settings, seed=seed, compute=compute, remeasured=True, on_progress=on_progress
        )
    if file.elastic and not finetune_epochs:
        _recalibrate_elastic(network, splits, seed, compute, on_progress)
    else:
        recalibrate_batch_norm(network, splits, batch, seed, compute)
    return to_arrays(network.state_dict())


def _recalibrate_elastic(
    network: Network, splits: Splits, seed: int, compute: Compute, on_progress: OnProgress
) -> None:
    statistics = Statistics.elastic(splits, seed)

    def report(seen: int) -> None:
        on_progress(TrainingProgress("weights", seen, len(statistics.order), "recalibrating batch norm"))

    with few_threads(splits.resolution):
        statistics.measure([network], compute, report)


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
    with few_threads(splits.resolution):
        Statistics.plain(splits, batch, CALIBRATION_IMAGES, seed).measure([network], compute)
