"""A small trained network and its images, for what random weights cannot tell.

`digits_network.safetensors` was trained once, on digits at 32 px (`train_network`, 8 epochs in batches of 64,
learning rate 0.05, seed 0): 93.9 % of the test images.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conftest import tiny_space
from ponas_deploy.files.weights import read_weights
from searchspace import Architecture
from searchspace.graph import network_model

Array = NDArray[Any]
WEIGHTS = Path(__file__).with_name("digits_network.safetensors")
ARCHITECTURE = Architecture.from_indices(tiny_space(), (3, 0, 1))


@cache
def trained_model(batch: int = 359) -> bytes:
    """The network as ONNX, for all test images at once."""
    return bytes(network_model(ARCHITECTURE, read_weights(WEIGHTS).tensors, batch).SerializeToString())


@cache
def scale_images() -> Array:
    """Training images that INT8 scales come from."""
    return _images("train", 128)[0]


@cache
def held_out() -> tuple[Array, Array]:
    """Test images and their labels."""
    return _images("test", 359)


def _images(part: str, count: int) -> tuple[Array, Array]:
    from train.data import load

    images, labels = next(getattr(load("digits", resolution=32, seed=0), part).batches(count))
    return np.ascontiguousarray(images.numpy(), np.float32), labels.numpy()


def top1_pct(logits: Array) -> float:
    """Of the test images."""
    return float(100 * (logits.argmax(axis=1) == held_out()[1]).mean())
