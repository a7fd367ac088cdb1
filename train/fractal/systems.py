"""Iterated function systems: one for each class, in families of related ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ponas_deploy.errors import PonasError
from train.fractal.points import STEM, Floats, cell_count, histogram, points, stream

MAPS = (2, 8)  # affine maps a system, both included
_ATTEMPTS = 1000  # systems drawn for one that fills the frame
_SEARCH_SIZE = 128  # px: fill is measured at this size, so that a class is the same at every image size
_SEARCH_DENSITY = 2.0  # points a pixel
_CONTRACTION = 0.98  # the largest spectral norm of a map


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
    random = stream(settings.seed, 0, family)
    while True:
        count = int(random.integers(MAPS[0], MAPS[1] + 1))
        maps: list[Floats] = []
        while len(maps) < count:
            drawn = random.uniform(-1.0, 1.0, 6)
            if _norms(drawn[None])[0] < _CONTRACTION:
                maps.append(drawn)
        yield _system(np.stack(maps))


def _variations(settings: FractalSettings, parent: System, label: int) -> Iterator[System]:
    random = stream(settings.seed, 1, label)
    while True:
        factors = 1 + settings.spread * random.uniform(-1.0, 1.0, parent.maps.shape)
        yield _system(contracted(parent.maps * factors))


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
    cells = cell_count(_SEARCH_SIZE, _SEARCH_DENSITY)
    random = stream(0, 3)
    starts, stems = random.random((1, cells)), random.random((1, STEM))
    x, y = next(points(system.maps[None], system.probabilities, starts, stems))
    hits = histogram(x, y, _SEARCH_SIZE, np.array([1.0, 0.5, 0.5]))
    return float((hits > 0).mean())


def _system(maps: Floats) -> System:
    sizes = np.abs(maps[:, 0] * maps[:, 3] - maps[:, 1] * maps[:, 2]) + 1e-9
    return System(maps, sizes / sizes.sum())


def _norms(maps: Floats) -> Floats:
    """The spectral norm of each map's linear part: (..., 6) -> (...)."""
    a, b, c, d = (maps[..., i] for i in range(4))
    total, det = a * a + b * b + c * c + d * d, a * d - b * c
    return np.sqrt((total + np.sqrt(np.maximum(total * total - 4 * det * det, 0))) / 2)


def contracted(maps: Floats) -> Floats:
    """The same maps (..., 6), those that do not contract any more scaled until they do."""
    factors = np.minimum(1.0, _CONTRACTION / np.maximum(_norms(maps), 1e-9))
    result = maps.copy()
    result[..., :4] *= factors[..., None]
    return result
