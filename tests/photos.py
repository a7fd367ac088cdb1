"""Folders of small images whose class is their colour, for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"cat": (200, 40, 40), "dog": (40, 200, 40), "eel": (40, 40, 200)}


def picture(path: Path, colour: tuple[int, int, int], number: int, mode: str = "RGB") -> Path:
    """A noisy image of a colour, of one of three sizes; `number` makes it its own."""
    random = np.random.default_rng(number)
    width, height = ((40, 30), (30, 40), (25, 25))[number % 3]
    pixels = np.clip(random.normal(colour, 25, (height, width, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def fill(root: Path, images: int, classes: tuple[str, ...] = tuple(COLOURS), ending: str = "jpg") -> Path:
    """`images` of each class as root/<class>/<number>.<ending>."""
    for place, name in enumerate(classes):
        for number in range(images):
            picture(root / name / f"{number:03}.{ending}", COLOURS[name], 1000 * place + number)
    return root
