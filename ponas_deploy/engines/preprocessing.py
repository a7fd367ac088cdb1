"""How images become a network's input: resized, cut and normalised as the weights' training did it.

The header of a weights file says it (`mean`, `std`, `resize_px`), an engine's manifest carries it on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.errors import PonasError
from ponas_deploy.files import class_names
from ponas_deploy.files.documents import encoded
from ponas_deploy.files.normalisation import ChannelOrder, Rgb
from ponas_deploy.files.weights import WeightsFile

_LARGEST_PX = 1 << 14
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """A pixel value v in [0, 1] reaches the network as (v - mean) / std, channel by channel in their order.

    The shorter side is resized to `resize_px` before, with a triangle filter, and the centre of the network's
    resolution cut out.
    """

    mean: Rgb
    std: Rgb
    resize_px: int
    channel_order: ChannelOrder = "RGB"

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Preprocessing:
        """Of `mean`, `std`, `resize_px` and `channel_order`; ValueError where one is missing or wrong."""
        mean, std, resize_px = document.get("mean"), document.get("std"), document.get("resize_px")
        rgb, deviation = _rgb(mean), _rgb(std)
        if rgb is None or deviation is None or min(deviation) <= 0:
            raise ValueError("three numbers each are expected as mean and std, those of std above zero")
        if not isinstance(resize_px, int) or not 1 <= resize_px <= _LARGEST_PX:
            raise ValueError(f"resize_px is {resize_px!r}, expected 1 to {_LARGEST_PX}")
        order = document.get("channel_order", "RGB")
        if order not in get_args(ChannelOrder):
            raise ValueError(f"channel_order is {order!r}, expected one of {get_args(ChannelOrder)}")
        return cls(rgb, deviation, resize_px, order)

    def said(self, crop_px: int) -> dict[str, Any]:
        """All of it by name, as manifests and ONNX models say it; `crop_px` is the network's resolution."""
        return {**encoded(self), "crop_px": crop_px}

    def input_of(self, image: NDArray[Any], resolution: int) -> Floats:
        """The input (3, resolution, resolution) of the network for one image (H, W, 3) in RGB."""
        pixels = image.astype(np.float64) / (255.0 if image.dtype == np.uint8 else 1.0)
        size = max(self.resize_px, resolution)
        shorter = min(pixels.shape[:2])
        height, width = (size * side // shorter for side in pixels.shape[:2])  # as torchvision rounds
        resized = _resized(_resized(pixels, width, 1), height, 0)
        top, left = round((height - resolution) / 2), round((width - resolution) / 2)
        cut = resized[top : top + resolution, left : left + resolution]
        cut = cut[..., ::-1] if self.channel_order == "BGR" else cut
        return np.ascontiguousarray(((cut - self.mean) / self.std).transpose(2, 0, 1), np.float32)


def preprocessing_of(file: WeightsFile, resolution: int | None = None) -> Preprocessing | None:
    """What the header of a weights file says; None where it says nothing that can be used.

    A file for any resolution says `resize_ratio`, that of the `resolution` to the side that it is cut from.
    One that says neither that nor `resize_px` was trained on images brought to the resolution itself.
    """
    header = file.metadata
    try:
        mean, std = (list(map(float, header.get(key, "").split(","))) for key in ("mean", "std"))
        resize_px = file.number("resize_px") or file.number("resolution")
        if "resize_ratio" in header and resolution:
            resize_px = ceil(resolution / float(header["resize_ratio"]))
        order = header.get("channel_order", "RGB")
        return Preprocessing.from_document(
            {"mean": mean, "std": std, "resize_px": resize_px, "channel_order": order}
        )
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def model_metadata(how: Preprocessing | None, crop_px: int, names: Sequence[str]) -> dict[str, str]:
    """What a model says of itself, as in the header of weights: how images become its input, its classes."""
    said = how.said(crop_px) if how else {}
    texts = {
        key: ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        for key, value in said.items()
    }
    return {**texts, class_names.KEY: class_names.written(names)} if names else texts


def _rgb(value: object) -> Rgb | None:
    if not isinstance(value, list) or len(value) != 3:
        return None
    red, green, blue = value
    if not all(isinstance(part, (int, float)) and isfinite(part) for part in value):
        return None
    return float(red), float(green), float(blue)


def _resized(pixels: NDArray[np.float64], size: int, axis: int) -> NDArray[np.float64]:
    """One axis brought to `size` pixels by a triangle filter, as wide as a new pixel where it shrinks."""
    given = pixels.shape[axis]
    if given == size:
        return pixels
    scale = given / size
    reach = max(scale, 1.0)
    weights = np.zeros((size, given))
    for place in range(size):
        centre = (place + 0.5) * scale
        first, last = max(floor(centre - reach), 0), min(ceil(centre + reach), given)
        near = np.arange(first, last)
        row = np.maximum(1 - np.abs(near + 0.5 - centre) / reach, 0)
        weights[place, first:last] = row / row.sum()
    return np.moveaxis(np.tensordot(weights, pixels, (1, axis)), 0, axis)


def refused(what: str) -> PonasError:
    """The error for an array that is no images."""
    return PonasError(
        f"{what}: give images (N, H, W, 3) as uint8 or as floats in [0, 1], or the network's own input as"
        " (N, 3, PX, PX) float32."
    )
