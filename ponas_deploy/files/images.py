"""One way to decode an image file, for training, scales and engines: upright, in RGB, 8 bits a channel.

Needs Pillow (the extras `train` and `images`), which is loaded when it is first used.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.errors import FileFormatError, MissingExtraError
from ponas_deploy.files.opening import check_regular

_ALWAYS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_WHERE_PILLOW_CAN = (".jfif", ".gif", ".avif")
_SCALED_TO_16 = ("PNG", "PPM")
"""Kinds of files whose 32-bit pixels in Pillow are of 16 bits."""
_DEPTH_16 = 257  # 65535 / 255: from 16 to 8 bits


@cache
def extensions() -> tuple[str, ...]:
    """How the names of files end that are read: torchvision's, and more where the installed Pillow can."""
    known = _pillow().registered_extensions()
    return (*_ALWAYS, *(kind for kind in _WHERE_PILLOW_CAN if kind in known))


def decoded(path: Path) -> Any:
    """A PIL image in RGB, turned as its EXIF orientation says, 16 bits of grey scaled to 8.

    Of 16 bits a colour Pillow itself keeps the upper 8. ValueError for pixels whose range is not known
    (32-bit integers, floats), FileFormatError for what is no regular file; else whatever PIL raises for a
    file that is broken.
    """
    check_regular(path)
    pillow = _pillow()
    from PIL import ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata and palettes that do not matter here
        with pillow.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            return _eight_bits(upright, image.format or "").convert("RGB")


def size_px(path: Path) -> tuple[int, int]:
    """Two sides of an image file as its header says them, before it is turned; raises what `decoded` does."""
    check_regular(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _pillow().open(path) as image:
            return image.size[0], image.size[1]


def read_image(path: Path) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of an image file, RGB; FileFormatError says why it cannot be read."""
    try:
        return np.asarray(decoded(path), np.uint8)
    except (FileFormatError, MissingExtraError):
        raise
    except Exception as error:
        raise FileFormatError(path, "", f"cannot be read as an image ({reason(error)}).") from error


def reason(error: Exception) -> str:
    """Why an image cannot be read: PIL has no root of its errors, they are one of a dozen kinds."""
    text = error.reason if isinstance(error, FileFormatError) else str(error)
    return text.partition("\n")[0] or type(error).__name__


def _eight_bits(image: Any, kind: str) -> Any:
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in _SCALED_TO_16):
        values = np.asarray(image).astype(np.float64) / _DEPTH_16
        return _pillow().fromarray(np.rint(values.clip(0, 255)).astype(np.uint8))
    if image.mode in ("I", "F"):
        what = "floats" if image.mode == "F" else "32-bit integers"
        raise ValueError(f"its pixels are {what}, whose range is not known: save it with 8 or 16 bits")
    return image


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("Pillow, which reading image files needs,", "images") from error
    return Image
