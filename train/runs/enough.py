"""Whether there are enough images to fit an accuracy table to, and whether they are large enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ponas_deploy.errors import PonasError
from train.data import Splits, TensorImages

if TYPE_CHECKING:
    from train.data.file_images import SmallImages

LEAST_IMAGES = 20
"""Validation images without which no table is made: with fewer top-1 moves in steps of more than 5 points."""

_IN_ALL = 125
"""Images of a folder of which so many are held out: a fifth for the test, and a fifth of the rest."""


def refuse_few(splits: Splits) -> None:
    """PonasError where too few images are held out to compare networks by."""
    if text := too_few(splits):
        raise PonasError(text)


def too_few(splits: Splits) -> str:
    """What is said where too few images are held out to compare networks by; empty where there are enough."""
    training, held_out = len(splits.train.labels), len(splits.validation.labels)
    if held_out >= LEAST_IMAGES:
        return ""
    return (
        f"{splits.name} leaves {training} images to train on and {held_out} to compare networks by, which"
        f" is too few: {LEAST_IMAGES} of these are needed, about {_IN_ALL} images in all."
    )


def refuse_small(splits: Splits, step_px: int) -> None:
    """PonasError where most images are smaller than the network's input; it is a multiple of `step_px`."""
    found = _smaller(splits)
    if found is None or 2 * found.count <= found.looked_at:
        return
    fits_px = found.smallest_px // step_px * step_px
    smaller = f"--resolution {fits_px} fits them all, and " if fits_px else ""
    raise PonasError(
        f"{found.count} of {found.looked_at} training images are smaller than {splits.resolution} px (one has"
        f" a side of {found.smallest_px}): {smaller}--enlarge takes them as they are, enlarged."
    )


def too_small(splits: Splits) -> str:
    """What is said of images that are smaller than the network's input; empty where none is."""
    found = _smaller(splits)
    if found is None or not found.count:
        return ""
    return (
        f"warning: {found.count} of {found.looked_at} training images are smaller than {splits.resolution} px"
        f" (one has a side of {found.smallest_px}) and are enlarged: a smaller --resolution is faster"
        " and shows as much"
    )


def _smaller(splits: Splits) -> SmallImages | None:
    """How many images of files are smaller than the network's input; None for other images."""
    if isinstance(splits.train, TensorImages):
        return None
    from train.data.file_images import FileImages  # with torchvision, which takes a second

    return splits.train.smaller_than(splits.resolution) if isinstance(splits.train, FileImages) else None
