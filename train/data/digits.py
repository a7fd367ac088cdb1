"""scikit-learn's handwritten digits: 1,797 real images of 8x8 pixels in 10 classes, no download.

Source: UCI "Optical Recognition of Handwritten Digits". Upscaled bilinearly, grey in all three
channels. 25 % are held out for the accuracy table and 20 % for the final test, class by class.
"""

from __future__ import annotations

import math

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from train.compute import generator
from train.data.splits import Splits, TensorImages

RESOLUTION = 32
VALIDATION, TEST = 0.25, 0.20
MEAN, STD = 0.3053, 0.3760  # of all pixels in [0, 1]
_SHIFT, _ROTATION = 1 / 16, 10.0  # of the image's side; degrees


def load(resolution: int | None, seed: int, workers: int) -> Splits:
    """The digits at `resolution` pixels (None: 32), split by `seed`; `workers` are not needed."""
    resolution = resolution or RESOLUTION
    digits = load_digits()
    pixels = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    images = F.interpolate(pixels, size=(resolution, resolution), mode="bilinear", align_corners=False)
    images = ((images - MEAN) / STD).expand(-1, 3, -1, -1).contiguous()
    labels = torch.tensor(digits.target, dtype=torch.int64)
    train, validation, test = (
        TensorImages(images[part], labels[part], shift_and_rotate) for part in _split(labels, seed)
    )
    names = tuple(map(str, range(10)))
    return Splits(
        "digits", 10, resolution, seed, (MEAN,) * 3, (STD,) * 3, train, validation, test, class_names=names
    )


def _split(labels: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of training, validation and test images, each class in the same proportion."""
    parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    for label in range(10):
        members = (labels == label).nonzero()[:, 0]
        members = members[torch.randperm(len(members), generator=generator(seed, "digits", label))]
        held, tested = round(VALIDATION * len(members)), round(TEST * len(members))
        sizes = [len(members) - held - tested, held, tested]
        for part, indices in zip(parts, torch.split(members, sizes), strict=True):
            part.append(indices)
    train, validation, test = (torch.cat(part).sort().values for part in parts)
    return train, validation, test


def shift_and_rotate(images: Tensor, random: torch.Generator) -> Tensor:
    """Each image moved by up to a 16th of its side and turned by up to 10 degrees, background filled."""
    uniform = 2 * torch.rand(3, len(images), generator=random) - 1
    angle = uniform[0] * math.radians(_ROTATION)
    cos, sin = angle.cos(), angle.sin()
    shift = uniform[1:] * 2 * _SHIFT  # grid coordinates run from -1 to 1
    rows = torch.stack([cos, -sin, shift[0], sin, cos, shift[1]], dim=1)
    grid = F.affine_grid(rows.view(-1, 2, 3), list(images.shape), align_corners=False)
    background = -MEAN / STD
    return F.grid_sample(images - background, grid, align_corners=False) + background
