"""What the next layer sees: images that went through the finished part of the network, kept if they fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from train.compute import Compute
from train.data import Batch, Images, TensorImages
from train.loop import EVALUATION_BATCH


@dataclass(frozen=True, slots=True)
class Through:
    """Images seen through a frozen module; computed anew for every batch."""

    source: Images
    module: nn.Module
    compute: Compute

    @property
    def labels(self) -> Tensor:
        """The labels of the images, (N,)."""
        return self.source.labels

    def batches(self, size: int, order: Tensor | None = None, augment: int | None = None) -> Iterator[Batch]:
        """See `train.data.Images`; batches are on the device and need no gradient."""
        self.module.eval()
        for images, labels in self.source.batches(size, order, augment):
            with torch.no_grad(), self.compute.precision():
                features = self.module(self.compute.put(images))
            yield features.float(), labels


def kept(images: Images, shape: tuple[int, ...], limit_mib: float) -> Images:
    """The same features held in memory, where their float32 values of `shape` each stay below the limit.

    Kept features are those of the plain images: a random augmentation no longer reaches them.
    """
    count = len(images.labels)
    if 4 * count * torch.Size(shape).numel() > limit_mib * 2**20:
        return images
    features = [features.cpu() for features, _ in images.batches(EVALUATION_BATCH)]
    return TensorImages(torch.cat(features), images.labels)
