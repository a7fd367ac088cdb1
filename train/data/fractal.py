"""FractalDB as a data set: images drawn by formula on the spot, and kept (`train.fractal`).

60 classes in 12 families; of every class 1,000 images to train on, 200 to fill the accuracy table
with and 100 for the final test. The paper of PONAS holds out 50 a class of 1,000 classes; with 60
classes 50 would leave a standard error of 0.8 points, 200 leave 0.4.

How hard it is, tried with a small MBConv network at 48 px with `spread` 0.2 on 12,000 images, 6 epochs:
top-1 of 60 % at `perturbation` 0.1, 48 % at 0.15, 41 % at 0.2 (the default), 31 % at 0.3. The default on
36,000 images, half as wide again, 7 epochs: 68 %, with the family right for 97 % (training 72 %).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ponas_deploy.errors import PonasError
from train.compute import WHOLE, Share
from train.data.cache import default_cache
from train.data.splits import Batch, Splits
from train.fractal import FractalSettings, fractal_images
from train.progress import OnProgress, silent

DEFAULT = FractalSettings()
RESOLUTION = DEFAULT.size
TRAIN, VALIDATION, TEST = 1000, 200, 100  # images a class


def load(
    resolution: int | None,
    seed: int,
    workers: int,
    *,
    classes: int = DEFAULT.classes,
    images: int = TRAIN,
    validation: int = VALIDATION,
    test: int = TEST,
    families: int | None = None,
    spread: float = DEFAULT.spread,
    perturbation: float = DEFAULT.perturbation,
    cache_dir: Path | None = None,
    on_progress: OnProgress = silent,
) -> Splits:
    """Fractals of `resolution` pixels (None: 112) drawn from `seed` by `workers` processes.

    `images`, `validation` and `test` are counted a class. The held-out images come first in the
    stream of each class, so they stay the same whatever the number of images to train on.
    `families` (None: one for five classes), `spread` and `perturbation` say how hard the classes are to
    tell apart, see `FractalSettings`. Raises PonasError for a value out of range.
    """
    for name, count in (("images", images), ("validation", validation), ("test", test)):
        if count < 1:
            raise PonasError(f"fractal {name} is {count} a class: ask for 1 or more.")
    settings = FractalSettings(
        classes=classes,
        images_per_class=validation + test + images,
        size=RESOLUTION if resolution is None else resolution,
        seed=seed,
        families=max(1, classes // 5) if families is None else families,
        spread=spread,
        perturbation=perturbation,
    )
    cache = default_cache() if cache_dir is None else cache_dir
    pixels, _ = fractal_images(settings, cache, workers=workers, on_progress=on_progress)
    by_class = pixels.reshape(classes, -1, settings.size, settings.size)
    held, tested, train = np.split(by_class, [validation, validation + test], axis=1)
    mean, std = _statistics(held)
    return Splits(
        name="fractal",
        classes=classes,
        resolution=settings.size,
        seed=seed,
        mean=(mean,) * 3,
        std=(std,) * 3,
        train=PixelImages.of(train, mean, std),
        validation=PixelImages.of(held, mean, std),
        test=PixelImages.of(tested, mean, std),
    )


@dataclass(frozen=True, slots=True)
class PixelImages:
    """Grey images kept as bytes, a 12th of the memory of what a network reads.

    `pixels` (N, H, W) uint8 and `labels` (N,) int64, on any device: batches come from where they lie.
    """

    pixels: Tensor
    labels: Tensor
    mean: float
    std: float

    @classmethod
    def of(cls, by_class: NDArray[np.uint8], mean: float, std: float) -> PixelImages:
        """Images (classes, images, H, W), copied into memory."""
        classes, count = by_class.shape[:2]
        pixels = torch.from_numpy(np.array(by_class)).flatten(0, 1)
        return cls(pixels, torch.arange(classes).repeat_interleave(count), mean, std)

    def to(self, device: torch.device | str) -> PixelImages:
        """The same images on another device: on a GPU no batch crosses the bus."""
        return replace(self, pixels=self.pixels.to(device), labels=self.labels.to(device))

    def batches(
        self, size: int, order: Tensor | None = None, augment: int | None = None, share: Share = WHOLE
    ) -> Iterator[Batch]:
        """See `Images.batches`: (n, 3, H, W), grey in all three channels.

        Augmented images are turned by quarters and mirrored, each on its own.
        """
        order = torch.arange(len(self.labels)) if order is None else order
        random = None if augment is None else torch.Generator().manual_seed(augment)
        order = order.to(self.pixels.device)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            pixels = self.pixels[chosen]
            if random is not None:
                pixels = _quarter_turned(pixels, random)
            pixels = share.of(pixels)
            images = (pixels[:, None].float() / 255 - self.mean) / self.std
            yield images.expand(-1, 3, -1, -1), share.of(self.labels[chosen])


def _quarter_turned(pixels: Tensor, random: torch.Generator) -> Tensor:
    """One of the eight symmetries of the square for each image (N, H, W)."""
    coins = (torch.rand(3, len(pixels), 1, 1, generator=random) < 0.5).to(pixels.device)
    pixels = torch.where(coins[0], pixels.flip(1), pixels)
    pixels = torch.where(coins[1], pixels.flip(2), pixels)
    return torch.where(coins[2], pixels.transpose(1, 2), pixels)


def _statistics(images: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation of all pixels in [0, 1]."""
    counts = np.bincount(images.ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = float(counts @ values / counts.sum())
    return round(mean, 4), round(math.sqrt(float(counts @ (values - mean) ** 2 / counts.sum())), 4)
