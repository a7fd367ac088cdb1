"""Whether there are enough images to fit an accuracy table to, and whether they are large enough."""

from __future__ import annotations

from ponas_deploy.errors import PonasError
from train.data import Splits, TensorImages

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


def too_small(splits: Splits) -> str:
    """What is said of images that are smaller than the network's input; empty where none is."""
    if isinstance(splits.train, TensorImages):
        return ""
    from train.data.file_images import FileImages  # with torchvision, which takes a second

    if not isinstance(splits.train, FileImages):
        return ""
    found = splits.train.smaller_than(splits.resolution)
    if not found.count:
        return ""
    return (
        f"warning: {found.count} of {found.looked_at} training images are smaller than {splits.resolution} px"
        f" (one has a side of {found.smallest_px}) and are enlarged: a smaller --resolution is faster"
        " and shows as much"
    )
