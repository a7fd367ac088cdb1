"""CIFAR-10 and CIFAR-100: 60,000 images of 32x32 pixels, read by torchvision from files the user has.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The files are pickles;
torchvision opens them only after their MD5 was found to be that of the published ones. A tenth of the
50,000 training images, 5,000, are held out for the accuracy table; the 10,000 test images stay the test.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision import datasets
from torchvision.transforms.v2.functional import normalize

from ponas_deploy.errors import PonasError
from ponas_deploy.files.class_names import usable
from ponas_deploy.files.normalisation import Rgb
from train.compute import WHOLE, Share, generator
from train.data.cache import default_cache
from train.data.splits import Batch, Splits

RESOLUTION = 32
HELD_OUT = 5000  # images of all classes together
_PADDING = 4  # pixels an image moves at most when augmented


@dataclass(frozen=True, slots=True)
class Published:
    """One of the two data sets; mean and deviation of all training pixels in [0, 1]."""

    name: str
    reader: type[datasets.CIFAR10]
    classes: int
    mean: Rgb
    std: Rgb


CIFAR10 = Published("cifar10", datasets.CIFAR10, 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100 = Published("cifar100", datasets.CIFAR100, 100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))


def cifar10(
    resolution: int | None,
    seed: int,
    workers: int,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    validation: int | None = None,
) -> Splits:
    """CIFAR-10 at `resolution` pixels (None: 32); `workers` are not needed.

    `data_dir` (None: the user's cache) holds `cifar-10-batches-py`; it is fetched only where `download`
    is set. `validation` images a class (None: a tenth) are held out by `seed`. PonasError without files.
    """
    return _load(CIFAR10, resolution, seed, data_dir, download, validation)


def cifar100(
    resolution: int | None,
    seed: int,
    workers: int,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    validation: int | None = None,
) -> Splits:
    """CIFAR-100, from `cifar-100-python`; otherwise as `cifar10`."""
    return _load(CIFAR100, resolution, seed, data_dir, download, validation)


def _load(
    published: Published,
    resolution: int | None,
    seed: int,
    data_dir: Path | None,
    download: bool,
    validation: int | None,
) -> Splits:
    folder = default_cache() if data_dir is None else data_dir
    pixels, labels, names = _read(published, folder, download, train=True)
    held = _held_out(labels, published, validation, seed)
    train, table = ~held, held
    tested = _read(published, folder, download, train=False)[:2]
    side = resolution or RESOLUTION
    train_images, held_images, test_images = (
        SmallImages(some, classes, side, published.mean, published.std)
        for some, classes in ((pixels[train], labels[train]), (pixels[table], labels[table]), tested)
    )
    return Splits(
        published.name,
        published.classes,
        side,
        seed,
        published.mean,
        published.std,
        train_images,
        held_images,
        test_images,
        class_names=names,
    )


def _read(
    published: Published, folder: Path, download: bool, *, train: bool
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Pixels (N, 3, 32, 32) uint8, labels (N,) int64, and what the classes are called."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy 2.4 on arrays pickled in 2009
            found = published.reader(folder, train=train, download=download)
    except (RuntimeError, OSError) as error:
        wanted = f"{folder}/{published.reader.base_folder}"
        raise PonasError(
            f"{published.name} is not in {wanted}, or its files are not the published ones: name the folder"
            f" that holds them, {published.name}:data_dir=FOLDER, or add download=yes."
        ) from error
    pixels = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.tensor(found.targets, dtype=torch.int64), usable(found.classes)


def _held_out(labels: Tensor, published: Published, validation: int | None, seed: int) -> Tensor:
    """Which training images fill the table, (N,) bool: as many of every class."""
    count = HELD_OUT // published.classes if validation is None else validation
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(published.classes):
        members = (labels == label).nonzero()[:, 0]
        if not 1 <= count < len(members):
            raise PonasError(
                f"{count} images a class cannot be held out of {len(members)}: validation must be from 1"
                f" to {len(members) - 1}."
            )
        order = torch.randperm(len(members), generator=generator(seed, published.name, label))
        held[members[order[:count]]] = True
    return held


@dataclass(frozen=True, slots=True)
class SmallImages:
    """Images kept as bytes: `pixels` (N, 3, H, W) uint8, `labels` (N,) int64; batches have side `side`."""

    pixels: Tensor
    labels: Tensor
    side: int
    mean: Rgb
    std: Rgb

    def batches(
        self, size: int, order: Tensor | None = None, augment: int | None = None, share: Share = WHOLE
    ) -> Iterator[Batch]:
        """See `Images.batches`. Augmented images are moved by up to 4 pixels and mirrored by chance."""
        order = torch.arange(len(self.labels)) if order is None else order
        random = None if augment is None else torch.Generator().manual_seed(augment)
        for chosen in torch.split(order, size) if len(order) else ():
            pixels = self.pixels[chosen]
            if random is not None:
                pixels = _moved_and_mirrored(pixels, random)
            images = share.of(pixels).float() / 255
            if self.side != images.shape[-1]:
                images = F.interpolate(images, (self.side, self.side), mode="bilinear", antialias=True)
            yield normalize(images, list(self.mean), list(self.std)), share.of(self.labels[chosen])


def _moved_and_mirrored(pixels: Tensor, random: torch.Generator) -> Tensor:
    """Each image (N, 3, H, W) cropped at random out of itself with a black border (arXiv 1512.03385, 4.2)."""
    count, _, height, width = pixels.shape
    offsets = torch.randint(0, 2 * _PADDING + 1, (2, count, 1), generator=random)
    mirrored = torch.rand(count, generator=random) < 0.5
    rows = offsets[0] + torch.arange(height)
    columns = offsets[1] + torch.arange(width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    framed = F.pad(pixels, (_PADDING,) * 4)
    each = torch.arange(count)[:, None, None, None]
    channels = torch.arange(3)[:, None, None]
    return framed[each, channels, rows[:, None, :, None], columns[:, None, None, :]]
