"""Accuracy of given weights through torch, in float32: the other side of an engine's own accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from searchspace import Architecture
from train.compute import Compute, few_threads
from train.data import Batch, Images
from train.networks import Network, load_arrays
from train.progress import Evaluation, OnProgress, TrainingProgress, silent
from train.stages.loop import EVALUATION_BATCH, Tally

_FULL_BATCH_PX = 112  # up to this side a whole EVALUATION_BATCH goes through at once


def evaluate_weights(
    architecture: Architecture,
    weights: Mapping[str, NDArray[np.float32]],
    images: Sequence[Images],
    *,
    device: str = "auto",
    on_progress: OnProgress = silent,
) -> Evaluation:
    """Top-1, top-5 and cross entropy of a network with `weights` over all of `images`.

    Without autocast on any device, so that it can be compared with an engine to the last image.
    """
    compute = Compute.on(device)
    network = Network(architecture)
    load_arrays(network, weights)
    compute.place(network).eval()
    shrink = max(architecture.space.resolution / _FULL_BATCH_PX, 1) ** 2
    tally, done, total = Tally(), 0, count(images)
    with few_threads(architecture.space.resolution), torch.inference_mode():
        for batch, labels in batches(images, max(int(EVALUATION_BATCH / shrink), 1)):
            tally.add(network(compute.put(batch)), compute.put(labels))
            done += len(labels)
            on_progress(TrainingProgress("weights", done, total, "through torch"))
    return tally.result()


def count(images: Sequence[Images]) -> int:
    """How many images there are."""
    return sum(len(part.labels) for part in images)


def batches(images: Sequence[Images], size: int) -> Iterator[Batch]:
    """The batches of several parts, one part after the other, none augmented."""
    for part in images:
        yield from part.batches(size)
