"""A folder of images as a data set: ImageNet's layout, or one folder a class (`train.data.layout`).

The paper's split (arXiv 2003.05112, section 4.1): of the training images 50 a class are held out to fill
the accuracy table with, by seed, and the original validation set is kept for the final test. A folder
without parts is divided: as many again are held out for the test. Where a class is small, a fifth of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ponas_deploy.errors import PonasError, UnknownNameError
from ponas_deploy.files.class_names import listed
from train.compute import WHOLE, Share, generator
from train.data.cache import default_cache
from train.data.file_images import STYLES, USUAL, FileImages, Reading, resized_px, views
from train.data.layout import ALL, TEST, TRAIN, VALIDATION, Part, found_text, read_parts
from train.data.splits import Batch, Images, Splits
from train.progress import OnProgress, TrainingProgress, silent

RESOLUTION, HELD_OUT = 224, 50
SMALL = 5  # at most one image in so many is held out


def load(
    folder: Path,
    resolution: int | None,
    seed: int,
    workers: int,
    *,
    validation: int = HELD_OUT,
    test: int = HELD_OUT,
    style: str = USUAL,
    cache_dir: Path | None = None,
    on_progress: OnProgress = silent,
) -> Splits:
    """The images of a folder at `resolution` pixels (None: 224), divided by `seed`.

    `validation` and `test` are the images a class that are held out where the folder has no such part.
    `style` is how they are prepared (`STYLES`): what weights from elsewhere were trained on.
    `workers` processes decode (0: as many as torch has threads); they change no pixel and no order.
    Images that cannot be read are skipped: `FileImages.skipped` has them, `on_progress` is called for them.
    Raises UnknownNameError for a style, PonasError for a layout, an empty class or classes that differ.
    """
    for name, count in (("validation", validation), ("test", test)):
        if count < 1:
            raise PonasError(f"{name} is {count} images a class: hold out 1 or more.")
    if style not in STYLES:
        raise UnknownNameError("style of images", style, STYLES)
    resolution, prepared = resolution or RESOLUTION, STYLES[style]
    reading = Reading(
        views(resolution, prepared),
        workers or torch.get_num_threads(),
        default_cache() if cache_dir is None else cache_dir,
        on_progress,
    )
    parts = read_parts(folder)
    any_part = next(iter(parts.values()))
    on_progress(TrainingProgress("data", 0, 1, found_text(parts), note=True))
    hold_out = HoldOut(folder, seed, on_progress)
    chosen = _divided(parts, hold_out, validation, test)

    def images(name: str) -> Images:
        return FileImages(*chosen[name], reading) if name in chosen else NoImages(folder, name)

    return Splits(
        name=str(folder),
        classes=len(any_part.classes),
        resolution=resolution,
        seed=seed,
        mean=prepared.normalisation.mean,
        std=prepared.normalisation.std,
        train=images(TRAIN),
        validation=images(VALIDATION),
        test=images(TEST),
        resize_px=resized_px(resolution, prepared.ratio),
        class_names=any_part.class_names,
        style="" if style == USUAL else style,
        channel_order=prepared.normalisation.channel_order,
    )


Chosen = tuple[Part, NDArray[np.int64]]
"""A part and the places (N,) of some of its images."""


def _divided(parts: dict[str, Part], hold_out: HoldOut, validation: int, test: int) -> dict[str, Chosen]:
    """Images to train on, to fill the table with and to test with; without the first, a test alone."""
    given = {name: (part, np.arange(len(part.files))) for name, part in parts.items()}
    if VALIDATION in given and TEST not in given:
        given[TEST] = given.pop(VALIDATION)
    if ALL in given:
        given[TRAIN] = given.pop(ALL)
    if TRAIN in given and TEST not in given:
        given[TRAIN], given[TEST] = hold_out(given[TRAIN], test, TEST)
    if TRAIN in given and VALIDATION not in given:
        given[TRAIN], given[VALIDATION] = hold_out(given[TRAIN], validation, VALIDATION)
    return given


@dataclass(frozen=True, slots=True)
class HoldOut:
    """Takes images of every class aside, by seed; says where it takes fewer than it was asked for."""

    folder: Path
    seed: int
    on_progress: OnProgress

    def __call__(self, chosen: Chosen, count: int, purpose: str) -> tuple[Chosen, Chosen]:
        """The images that stay, and `count` a class held out, at most a SMALL-th of it and at least one."""
        part, places = chosen
        labels = np.array(part.labels)[places]
        held, small = np.zeros(len(places), dtype=bool), []
        for label, name in enumerate(part.classes):
            members = np.flatnonzero(labels == label)
            if len(members) < 2:
                raise PonasError(
                    f"class '{name}' in {part.root} has too few images to hold one out for {purpose}:"
                    f" add some, or remove the class."
                )
            take = min(count, max(len(members) // SMALL, 1))
            if take < count:
                small.append(name)
            order = torch.randperm(len(members), generator=generator(self.seed, "folder", purpose, label))
            held[members[order[:take].numpy()]] = True
        if small:
            text = (
                f"held out for {purpose}: fewer than {count} images of {listed(small)},"
                f" one in {SMALL} instead"
            )
            self.on_progress(TrainingProgress("data", 0, 1, text))
        return (part, places[~held]), (part, places[held])


@dataclass(frozen=True, slots=True)
class NoImages:
    """In place of a part that the folder lacks: PonasError as soon as an image of it is asked for."""

    folder: Path
    name: str

    @property
    def labels(self) -> Tensor:
        """See the class."""
        wanted = f"{self.folder}/{TRAIN}/<class>/<image>"
        raise PonasError(f"{self.folder} has no images for {self.name}: add some as {wanted}.")

    def batches(
        self, size: int, order: Tensor | None = None, augment: int | None = None, share: Share = WHOLE
    ) -> Iterator[Batch]:
        """See the class."""
        return iter([(self.labels, self.labels)])
