"""What the next layer sees: images that went through the finished part of the network, kept if they fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from train.compute import WHOLE, Compute, Share
from train.data import Batch, Images, TensorImages
from train.stages.loop import EVALUATION_BATCH


@dataclass(frozen=True, slots=True)
class Through:
    """Images seen through a frozen module; computed again for every batch."""

    source: Images
    module: nn.Module
    compute: Compute

    @property
    def labels(self) -> Tensor:
        """The labels of the images, (N,)."""
        return self.source.labels

    def batches(
        self, size: int, order: Tensor | None = None, augment: int | None = None, share: Share = WHOLE
    ) -> Iterator[Batch]:
        """See `train.data.Images`; batches are on the device and need no gradient."""
        self.module.eval()
        for images, labels in self.source.batches(size, order, augment, share):
            with torch.no_grad(), self.compute.precision():
                features = self.module(self.compute.put(images))
            yield features.float(), labels


def fits(images: Images, shape: tuple[int, ...], limit_mib: int) -> bool:
    """Whether float32 features of `shape` of all images take no more than `limit_mib`."""
    return 4 * len(images.labels) * prod(shape) <= limit_mib * 2**20


def kept(images: Images) -> TensorImages:
    """The same features held in memory.

    They are those of the plain images: a random augmentation no longer reaches them.
    """
    features = [features.cpu() for features, _ in images.batches(EVALUATION_BATCH)]
    return TensorImages(torch.cat(features), images.labels)
