"""Images of a class: its system perturbed, turned, mirrored, scaled, moved, drawn with a 3x3 patch."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from train.fractal.points import STEM, Floats, cell_count, histogram, points, stream
from train.fractal.systems import FractalSettings, contracted, systems

PATCHES = 10

Pixels = NDArray[np.uint8]


def draw(settings: FractalSettings, label: int, first: int, count: int) -> Pixels:
    """Images `first` to `first + count` of class `label`: (count, size, size) uint8, black background."""
    system = systems(settings)[label]
    cells, numbers = cell_count(settings.size, settings.points_per_pixel), system.maps.size
    streams = (stream(settings.seed, 2, label, first + i) for i in range(count))
    random = np.stack([stream.random(numbers + 6 + cells + STEM) for stream in streams])
    factors, pose, starts, stems = np.split(random, np.cumsum([numbers, 6, cells]), axis=1)
    factors = 1 + settings.perturbation * (2 * factors.reshape(count, -1, 6) - 1)
    maps = _turned(contracted(system.maps * factors), pose)
    patches = _patches(settings.seed)
    images = np.empty((count, settings.size, settings.size), np.uint8)
    for i, (x, y) in enumerate(points(maps, system.probabilities, starts, stems)):
        hits = histogram(x, y, settings.size, pose[i, 2:5])
        images[i] = _toned(_stamped(hits, patches[int(pose[i, 5] * PATCHES)]))
    return images


def _turned(maps: Floats, pose: Floats) -> Floats:
    """Systems (B, m, 6) whose pictures are turned by any angle, half of them mirrored."""
    angles = 2 * math.pi * pose[:, 0, None]
    # Rounded, so that the last bit of a platform's sine cannot move a point to another pixel.
    cos, sin = np.round(np.cos(angles), 9), np.round(np.sin(angles), 9)
    mirror = np.where(pose[:, 1, None] < 0.5, -1.0, 1.0)
    a, b, c, d, e, f = np.moveaxis(maps, -1, 0)
    b, c, f = b * mirror, c * mirror, f * mirror
    left = (cos * a - sin * c, cos * b - sin * d, sin * a + cos * c, sin * b + cos * d)
    turned = (
        left[0] * cos - left[1] * sin,
        left[0] * sin + left[1] * cos,
        left[2] * cos - left[3] * sin,
        left[2] * sin + left[3] * cos,
        cos * e - sin * f,
        sin * e + cos * f,
    )
    return np.stack(turned, axis=-1)


@lru_cache(maxsize=8)
def _patches(seed: int) -> tuple[NDArray[np.bool_], ...]:
    """Random 3x3 patterns, none of them empty."""
    random = stream(seed, 4)
    patches: list[NDArray[np.bool_]] = []
    while len(patches) < PATCHES:
        patch = random.random((3, 3)) < 0.5
        if patch.any():
            patches.append(patch)
    return tuple(patches)


def _stamped(hits: NDArray[np.int64], patch: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A histogram with each point drawn as a 3x3 pattern, at most 255 a pixel."""
    result = np.zeros_like(hits)
    for row, column in np.argwhere(patch):
        result[1:-1, 1:-1] += hits[2 - row : len(hits) - row, 2 - column : len(hits) - column]
    return np.minimum(result, 255)


def _toned(hits: NDArray[np.int64]) -> Pixels:
    """Grey for hits of at most 255: logarithmic, the fullest pixel is white."""
    tones = np.log1p(np.arange(256)) * (255 / math.log1p(max(1, int(hits.max()))))
    return np.round(np.minimum(tones, 255)).astype(np.uint8)[hits]
