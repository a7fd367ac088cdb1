"""Whether an engine computes what the portable network does: on noise, and on images of its INT8 scales.

The difference of an input is the largest of its outputs, relative to the largest expected one. A precision
that only rounds is judged by the largest of a batch. INT8 is judged by the median of some inputs, because
single ones saturate: of a trained network noise was off by 0.12 in the median and 0.26 at most, images by
0.02 and 0.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import INT8, MIXED, QUANTISED, Session
from ponas_deploy.backends.onnx_calibration import read_images
from ponas_deploy.engines.calibration import IMAGES_FROM, images_of_folder
from ponas_deploy.engines.manifest import Manifest
from ponas_deploy.errors import FileFormatError, PonasError

TOLERANCE = {"fp32": 1e-3, "tf32": 1e-2, "fp16": 2e-2, "bf16": 1e-1, INT8: 3e-1, MIXED: 3e-1}
"""Largest difference from ONNX Runtime's float32 output, relative to the largest output."""
INT8_INPUTS = 8
NOISE = "random noise"
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Compared:
    """What an engine was given and how far its outputs were off: the median of so many `inputs` in INT8.

    `difference` is relative to the largest expected output, infinite for NaN and outputs of another shape.
    """

    what: str
    inputs: int
    difference: float


@dataclass(frozen=True, slots=True)
class Inputs:
    """Batches (batch, 3, resolution, resolution) of one kind."""

    what: str
    batches: tuple[Floats, ...]


def input_shape(manifest: Manifest) -> tuple[int, ...]:
    """Of one run: (batch, 3, resolution, resolution)."""
    return (manifest.conditions.batch, 3, manifest.space.resolution, manifest.space.resolution)


def noise(manifest: Manifest) -> Inputs:
    """Normal random values: one batch, of an INT8 engine as many as hold `INT8_INPUTS`."""
    random, batch = np.random.default_rng(0), manifest.conditions.batch
    count = -(-INT8_INPUTS // batch) if manifest.conditions.precision in QUANTISED else 1
    shape = input_shape(manifest)
    return Inputs(NOISE, tuple(random.standard_normal(shape, dtype=np.float32) for _ in range(count)))


def scale_images(manifest: Manifest) -> Inputs | None:
    """Some of the images that the scales of an INT8 engine came from; None where it names none.

    PonasError where they are not here any more, or are other images.
    """
    named = dict(manifest.environment).get(IMAGES_FROM)
    if manifest.conditions.precision not in QUANTISED or not named:
        return None
    batch, *size = input_shape(manifest)
    found = _read(Path(named), manifest)
    if found.ndim != 4 or not len(found) or list(found.shape[1:]) != size or found.dtype != np.float32:
        raise FileFormatError(Path(named), "", f"holds {found.dtype} of shape {found.shape}, not images.")
    chosen = np.linspace(0, len(found) - 1, min(len(found), INT8_INPUTS)).round().astype(int)
    places = np.resize(chosen, -(-len(chosen) // batch) * batch).reshape(-1, batch)
    batches = tuple(np.ascontiguousarray(found[row]) for row in places)
    return Inputs(f"{len(chosen)} of the images of its INT8 scales", batches)


def _read(path: Path, manifest: Manifest) -> Floats:
    if not path.exists():
        raise PonasError(f"{path} is not here.")
    if not path.is_dir():
        return read_images(path)
    resolution = manifest.space.resolution
    return images_of_folder(path, manifest.preprocessing, resolution, manifest.weights, INT8_INPUTS)


def outputs_of(session: Session, inputs: Inputs) -> tuple[Floats, ...]:
    """What a session answers to each batch."""
    return tuple(session.run(batch) for batch in inputs.batches)


def compared(
    inputs: Inputs, found: tuple[Floats, ...], expected: tuple[Floats, ...], precision: str
) -> Compared:
    """How far the outputs of batches are from those that are expected."""
    pairs = list(zip(found, expected, strict=True))
    if precision not in QUANTISED:
        differences = [_difference(one, other) for one, other in pairs]
        return Compared(inputs.what, sum(map(len, inputs.batches)), max(differences))
    each = [value for one, other in pairs for value in _each(one, other)]
    worst = max(each)
    return Compared(inputs.what, len(each), float(np.median(each)) if np.isfinite(worst) else worst)


def _each(found: Floats, expected: Floats) -> Iterator[float]:
    if found.shape != expected.shape:
        yield float("inf")
        return
    yield from map(_difference, found, expected)


def _difference(found: Floats, expected: Floats) -> float:
    """The largest difference, relative to the largest expected output; infinite for other shapes or NaN."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    largest = np.abs(expected).max() or 1.0
    return float(np.abs(found - expected).max() / largest)
