"""What a data set is to the training code: three sets of images that yield batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ponas_deploy.files.normalisation import ChannelOrder, Rgb
from train.compute import WHOLE, Share

Batch = tuple[Tensor, Tensor]
"""Normalised images (N, C, H, W) float32 and their labels (N,) int64."""

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Normalised images (N, 3, H, W) -> the same, changed at random."""


class Images(Protocol):
    """Labelled images, or feature maps, that come in batches.

    Which images make a batch is decided by the caller; how they get into memory, and how they are
    augmented, by the implementation.
    """

    @property
    def labels(self) -> Tensor:
        """The class of every image, (N,) int64."""

    def batches(
        self, size: int, order: Tensor | None = None, augment: int | None = None, share: Share = WHOLE
    ) -> Iterator[Batch]:
        """Batches of `size` (the last may be smaller) of the images at `order`, None: all in a row.

        `augment` is the seed of a random augmentation, None: no augmentation. `share` is the part of each
        batch that is wanted; its images are those of the whole batch, to the pixel.
        """


@dataclass(frozen=True, slots=True)
class TensorImages:
    """Images held in memory: `images` (N, C, H, W) float32, `labels` (N,) int64."""

    images: Tensor
    labels: Tensor
    augmentation: Augment | None = None

    def batches(
        self, size: int, order: Tensor | None = None, augment: int | None = None, share: Share = WHOLE
    ) -> Iterator[Batch]:
        """See `Images.batches`."""
        order = torch.arange(len(self.labels)) if order is None else order
        random = None if augment is None else torch.Generator().manual_seed(augment)
        for chosen in torch.split(order, size):
            images = self.images[chosen]
            if random is not None and self.augmentation is not None:
                images = self.augmentation(images, random)
            yield share.of(images), share.of(self.labels[chosen])


@dataclass(frozen=True, slots=True)
class Renumbered:
    """Images of which class k is called `numbers[k]`, `numbers` (classes,) int64."""

    images: Images
    numbers: Tensor

    @property
    def labels(self) -> Tensor:
        """See `Images.labels`."""
        return self.numbers[self.images.labels]

    def batches(
        self, size: int, order: Tensor | None = None, augment: int | None = None, share: Share = WHOLE
    ) -> Iterator[Batch]:
        """See `Images.batches`."""
        for images, labels in self.images.batches(size, order, augment, share):
            yield images, self.numbers[labels]


@dataclass(frozen=True, slots=True)
class Splits:
    """A data set: images to train on, to fill the accuracy table with, and to report on at the end.

    `resolution` in pixels. The shorter side of an image of another size is brought to `resize_px` (None: to
    the resolution), and its centre cut out. A pixel value v in [0, 1] reaches the network as
    (v - mean) / std, channel by channel in `channel_order`. `class_names` are in the order of the labels,
    empty where the classes have no names. `style` is how images are prepared, empty for the usual way.
    """

    name: str
    classes: int
    resolution: int
    seed: int
    mean: Rgb
    std: Rgb
    train: Images
    validation: Images
    test: Images
    resize_px: int | None = None
    class_names: tuple[str, ...] = ()
    style: str = ""
    channel_order: ChannelOrder = "RGB"

    def in_order(self, names: Sequence[str]) -> Splits:
        """The same images with their classes numbered as in `names`, which are the same names."""
        if self.class_names == tuple(names):
            return self
        places = {name: place for place, name in enumerate(names)}
        numbers = torch.tensor([places[name] for name in self.class_names], dtype=torch.int64)
        train, validation, test = (
            Renumbered(images, numbers) for images in (self.train, self.validation, self.test)
        )
        return replace(self, train=train, validation=validation, test=test, class_names=tuple(names))
