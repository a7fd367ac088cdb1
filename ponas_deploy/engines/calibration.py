"""Images of a folder for INT8 scales, prepared as the engine's input is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.engines.preprocessing import Preprocessing
from ponas_deploy.errors import PonasError
from ponas_deploy.files.images import extensions, read_image

IMAGES_FROM = "int8_images"
"""Under this name a manifest's environment says which file or folder the images of INT8 scales lie in."""
MOST = 256
"""Images that scales come from: more of them hardly change the largest values."""


def images_of_folder(
    folder: Path, how: Preprocessing | None, resolution: int, weights: str, most: int = MOST
) -> NDArray[np.float32]:
    """Images (count, 3, resolution, resolution) of a folder and those in it, evenly from all, at most `most`.

    PonasError where there is no image, or where the weights (`weights` describes them) do not say how images
    become their input; FileFormatError for one that cannot be read.
    """
    if how is None:
        raise PonasError(
            f"{weights}: these weights do not say how images of a folder become their input: give"
            f" --calibration FILE.npy, (count, 3, {resolution}, {resolution}) float32."
        )
    files = sorted(
        Path(inside) / name
        for inside, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(extensions()) and not name.startswith(".")
    )
    if not files:
        raise PonasError(
            f"{folder} holds no images for --calibration: put some there ({', '.join(extensions())})."
        )
    places = np.linspace(0, len(files) - 1, min(len(files), most)).round().astype(int)
    return np.stack([how.input_of(read_image(files[place]), resolution) for place in places])
