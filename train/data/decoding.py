"""One way to decode an image file: upright, in RGB, 8 bits a channel."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torchvision.datasets.folder import IMG_EXTENSIONS

_MORE = (".jfif", ".gif", ".avif")
EXTENSIONS = (*IMG_EXTENSIONS, *(kind for kind in _MORE if kind in Image.registered_extensions()))
"""How the names of files end that are read: torchvision's, and more where the installed Pillow can."""
DEPTH_16 = 257  # 65535 / 255: from 16 to 8 bits


def decoded(path: Path) -> Any:
    """An image in RGB, turned as its EXIF orientation says, 16 bits of grey scaled to 8.

    ValueError for pixels whose range is not known (32-bit integers, floats); else whatever PIL raises for
    a file that is broken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata and palettes that do not matter here
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            return _eight_bits(upright, image.format or "").convert("RGB")


def _eight_bits(image: Image.Image, kind: str) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "PNG"):
        values = np.asarray(image).astype(np.float64) / DEPTH_16
        return Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8))
    if image.mode in ("I", "F"):
        what = "floats" if image.mode == "F" else "32-bit integers"
        raise ValueError(f"its pixels are {what}, whose range is not known: save it with 8 or 16 bits")
    return image
