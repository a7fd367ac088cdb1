"""FractalDB: labelled images drawn by formula, so that training needs neither a download nor a licence.

Source: Kataoka et al., "Pre-training without Natural Images", ACCV 2020 (arXiv 2101.08515). A class is
an iterated function system: 2 to 8 contractive affine maps with coefficients uniform in [-1, 1], each
chosen with a probability proportional to |det|, redrawn until its picture fills enough of the frame.
An image of the class is the same system with every coefficient perturbed, turned, mirrored, and drawn
with one of ten random 3x3 patches.

Three things differ from the paper, because here the images must tell good networks from better ones:
- Perturbations are continuous. The paper's 25 fixed variations a class put near-copies of every
  training image into the validation set.
- Classes come in families: `families` systems drawn apart, the classes of a family variations of one.
  Telling a family's classes apart is what makes the task hard; `spread` and `perturbation` say how hard.
- An image is turned by any angle, scaled and moved, where the paper has four flips.

A picture is the same at every number of processes and in every order of drawing: each family, class
and image has its own stream of random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.errors import PonasError

GENERATOR = "fractal/1"
"""Changes whenever the same settings give other pixels; part of a cache's name."""

MAPS = (2, 8)  # affine maps a system, both included
PATCHES = 10
_ATTEMPTS = 2000  # systems drawn for one that fills the frame
_SEARCH_SIZE = 128  # px: fill is judged here, so that a class is the same at every image size
_SEARCH_DENSITY = 2.0  # points a pixel
_CONTRACTION = 0.98  # the largest spectral norm of a map
_SCALE = (0.7, 1.0)  # of the frame that a picture takes
_STEM = 64  # points that every cell of the attractor is drawn with

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FractalSettings:
    """Which images to draw; equal settings give equal pixels.

    `size` in pixels. `perturbation`: each coefficient of an image is its class's times 1 plus a number
    uniform in +-`perturbation` (the paper: 0.2). `spread`: the same, from a family to its classes.
    `families` equal to `classes` with `spread` 0 is the paper's: unrelated classes, an easy task.
    `fill_rate`: the least part of a 128 x 128 frame that a class's picture covers (the paper: 0.2, at
    512 x 512). `points_per_pixel`: how densely a picture is drawn, counted over the frame.

    PonasError names a value out of range.
    """

    classes: int = 60
    images_per_class: int = 1000
    size: int = 112
    seed: int = 0
    families: int = 12
    spread: float = 0.2
    perturbation: float = 0.2
    fill_rate: float = 0.2
    points_per_pixel: float = 2.0

    def __post_init__(self) -> None:
        _within("classes", self.classes, 2, 10_000)
        _within("images_per_class", self.images_per_class, 1, 1_000_000)
        _within("size", self.size, 16, 1024)
        _within("seed", self.seed, 0, 2**63 - 1)
        _within("families", self.families, 1, self.classes)
        _within("spread", self.spread, 0.0, 1.0)
        _within("perturbation", self.perturbation, 0.0, 1.0)
        _within("fill_rate", self.fill_rate, 0.0, 0.9)
        _within("points_per_pixel", self.points_per_pixel, 0.1, 100.0)


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise PonasError(f"fractal {name} is {value}: ask for {least} to {most}.")


@dataclass(frozen=True, slots=True)
class System:
    """An iterated function system: `maps` (m, 6) float64 and their probabilities (m,), which sum to 1.

    A row (a, b, c, d, e, f) takes the point (x, y) to (a x + b y + e, c x + d y + f).
    """

    maps: Floats
    probabilities: Floats


@lru_cache(maxsize=8)
def systems(settings: FractalSettings) -> tuple[System, ...]:
    """The system of every class; class c belongs to family c % families.

    PonasError when no system reaches the fill rate.
    """
    parents = [_search(settings, _drawn_apart(settings, family)) for family in range(settings.families)]
    if settings.spread == 0 and settings.families == settings.classes:
        return tuple(parents)
    related = (
        _variations(settings, parents[label % settings.families], label) for label in range(settings.classes)
    )
    return tuple(_search(settings, variations) for variations in related)


def _drawn_apart(settings: FractalSettings, family: int) -> Iterator[System]:
    random = _stream(settings.seed, 0, family)
    while True:
        count = int(random.integers(MAPS[0], MAPS[1] + 1))
        maps: list[Floats] = []
        while len(maps) < count:
            drawn = random.uniform(-1.0, 1.0, 6)
            if _norms(drawn[None])[0] < _CONTRACTION:
                maps.append(drawn)
        yield _system(np.stack(maps))


def _variations(settings: FractalSettings, parent: System, label: int) -> Iterator[System]:
    random = _stream(settings.seed, 1, label)
    while True:
        factors = 1 + settings.spread * random.uniform(-1.0, 1.0, parent.maps.shape)
        yield _system(_contracted(parent.maps * factors))


def _search(settings: FractalSettings, candidates: Iterator[System]) -> System:
    """The first candidate whose picture fills enough of the frame."""
    best = 0.0
    for candidate, _ in zip(candidates, range(_ATTEMPTS), strict=False):
        filled = fill_rate(candidate)
        if filled >= settings.fill_rate:
            return candidate
        best = max(best, filled)
    raise PonasError(
        f"none of {_ATTEMPTS} fractals fills {settings.fill_rate} of its frame, the fullest one fills"
        f" {best:.2f}: ask for a smaller fill_rate."
    )


def fill_rate(system: System) -> float:
    """The part of the pixels of a 128 x 128 frame that a system's points fall on."""
    cells = _cell_count(_SEARCH_SIZE, _SEARCH_DENSITY)
    random = _stream(0, 3)
    x, y = _points(system.maps[None], system.probabilities, random.random((1, cells)), random.random((1, _STEM)))
    hits = _histogram(x[0], y[0], _SEARCH_SIZE, np.array([1.0, 0.5, 0.5]))
    return float((hits > 0).mean())


def _system(maps: Floats) -> System:
    sizes = np.abs(maps[:, 0] * maps[:, 3] - maps[:, 1] * maps[:, 2]) + 1e-9
    return System(maps, sizes / sizes.sum())


def _norms(maps: Floats) -> Floats:
    """The spectral norm of each map's linear part: (..., 6) -> (...)."""
    a, b, c, d = (maps[..., i] for i in range(4))
    total, det = a * a + b * b + c * c + d * d, a * d - b * c
    return np.sqrt((total + np.sqrt(np.maximum(total * total - 4 * det * det, 0))) / 2)


def _contracted(maps: Floats) -> Floats:
    """The same maps (..., 6), those that do not contract any more scaled until they do."""
    factors = np.minimum(1.0, _CONTRACTION / np.maximum(_norms(maps), 1e-9))
    result = maps.copy()
    result[..., :4] *= factors[..., None]
    return result


def _stream(seed: int, *purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=purpose)))


# --- pictures ---------------------------------------------------------------------------------------


def draw(settings: FractalSettings, label: int, first: int, count: int) -> Pixels:
    """Images `first` to `first + count` of class `label`: (count, size, size) uint8, black background."""
    system = systems(settings)[label]
    cells, numbers = _cell_count(settings.size, settings.points_per_pixel), system.maps.size
    streams = (_stream(settings.seed, 2, label, first + i) for i in range(count))
    random = np.stack([stream.random(numbers + 6 + cells + _STEM) for stream in streams])
    factors, pose, starts, stems = np.split(random, np.cumsum([numbers, 6, cells]), axis=1)
    factors = 1 + settings.perturbation * (2 * factors.reshape(count, -1, 6) - 1)
    maps = _turned(_contracted(system.maps * factors), pose)
    x, y = _points(maps, system.probabilities, starts, stems)
    patches = _patches(settings.seed)
    images = np.empty((count, settings.size, settings.size), np.uint8)
    for i in range(count):
        hits = _histogram(x[i], y[i], settings.size, pose[i, 2:5])
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


def _cell_count(size: int, density: float) -> int:
    return max(_STEM, round(size * size * density / _STEM))


def _points(
    maps: Floats, probabilities: Floats, starts: Floats, stems: Floats
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points of the attractors of systems (B, m, 6): x and y, each (B, K * J).

    The chaos game without its loop: the attractor is cut into K cells of about equal probability
    and each is drawn with the same J points of the whole. `starts` (B, K) and `stems` (B, J) are
    numbers uniform in [0, 1).
    """
    count = starts.shape[1]
    cells = _cells(maps, probabilities, (np.arange(count) + starts) / count)
    chosen = ((np.arange(stems.shape[1]) + stems) * (count / stems.shape[1])).astype(np.int64)
    a, b, c, d, e, f = (np.take_along_axis(part, chosen, axis=1) for part in cells)
    # Twice into a cell: from the origin into a cell, and from there into another one.
    x, y = e[:, ::-1], f[:, ::-1]
    x, y = (v.astype(np.float32)[:, None, :] for v in (a * x + b * y + e, c * x + d * y + f))
    a, b, c, d, e, f = (part.astype(np.float32)[:, :, None] for part in cells)
    return (a * x + b * y + e).reshape(len(maps), -1), (c * x + d * y + f).reshape(len(maps), -1)


def _cells(maps: Floats, probabilities: Floats, addresses: Floats) -> tuple[Floats, ...]:
    """The maps onto cells of the attractors, one for each address (B, K) in [0, 1): six arrays (B, K).

    An address is read like an arithmetic code: it names the first map, what is left names the next,
    until the cell's probability is at most 1 / K. So evenly spaced addresses miss no part.
    """
    ends = np.cumsum(probabilities)[:-1]
    begins = np.concatenate([[0.0], ends, [0.0]])  # the last entry is the identity: nothing more to read
    shares = np.concatenate([probabilities, [1.0]])
    identity = np.broadcast_to([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], (len(maps), 1, 6))
    extended = np.concatenate([maps, identity], axis=1)
    table = np.ascontiguousarray(np.moveaxis(extended, -1, 0)).reshape(6, -1)
    rows = np.arange(len(maps))[:, None] * extended.shape[1]
    least, share = 1 / addresses.shape[1], np.ones_like(addresses)
    a, b, c, d, e, f = (np.full_like(addresses, value) for value in identity[0, 0])
    while (share > least).any():
        symbols = np.where(share > least, np.searchsorted(ends, addresses, side="right"), len(shares) - 1)
        addresses = (addresses - begins[symbols]) / shares[symbols]
        share = share * shares[symbols]
        p, q, r, s, t, u = (part[rows + symbols] for part in table)
        a, b, e = a * p + b * r, a * q + b * s, a * t + b * u + e
        c, d, f = c * p + d * r, c * q + d * s, c * t + d * u + f
    return a, b, c, d, e, f


def _histogram(
    x: NDArray[np.float32], y: NDArray[np.float32], size: int, place: Floats
) -> NDArray[np.int64]:
    """How many points fall on each pixel: (size, size), a border of one pixel left free.

    `place`: scale, horizontal and vertical position in the frame, each in [0, 1].
    """
    left, top = x.min(), y.min()
    width, height = x.max() - left, y.max() - top
    frame = np.float32(size - 3)
    scale = np.float32(_SCALE[0] + (_SCALE[1] - _SCALE[0]) * place[0]) * frame / max(width, height, 1e-6)
    right, down = (np.float32(place[1]) * (frame - scale * width), np.float32(place[2]) * (frame - scale * height))
    columns = ((x - left) * scale + np.float32(right + 1.5)).astype(np.int32)
    rows = ((y - top) * scale + np.float32(down + 1.5)).astype(np.int32)
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)


@lru_cache(maxsize=8)
def _patches(seed: int) -> tuple[NDArray[np.bool_], ...]:
    """Random 3x3 patterns, none of them empty."""
    random, patches = _stream(seed, 4), []
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
