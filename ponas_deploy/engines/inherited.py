"""Weights by way of the train room: inherited from a supernet, recalibrated, fine-tuned, and tested.

Imported only where the extra `train` is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.engines.accuracy import Accuracy, measure
from ponas_deploy.engines.loop import WeightsSource
from ponas_deploy.engines.preprocessing import preprocessing_of
from ponas_deploy.engines.task import Validation
from ponas_deploy.files.notes import Advance, OnNote, OpenBar, no_bar, no_note
from ponas_deploy.files.weights import WeightsFile
from searchspace.weights import Weights

if TYPE_CHECKING:
    from ponas_deploy.backends import Session
    from searchspace.architecture import Architecture
    from train.data import Splits

_SCALE_IMAGES = 512
_VALIDATION_IMAGES = 2000
"""So many validation images go through engines at the most, where these say what a precision loses."""
_TOGETHER = 8
"""Networks of a shortlist that see a batch of images before the next one is decoded."""


def inherited(
    file: WeightsFile,
    data: str,
    finetune: int,
    seed: int,
    as_they_are: bool,
    on_note: OnNote = no_note,
    resolution: int | None = None,
    bar: OpenBar = no_bar,
) -> WeightsSource:
    """The source of an engine's weights and of its accuracy on the test images of `data`.

    `resolution` in pixels is that of the images; None: the file's, or the data set's own.
    """
    from train.compute import shuffled
    from train.data.folder import NoImages
    from train.progress import notes
    from train.runs import load_images, too_few
    from train.stages import Statistics, inherited_weights

    splits = load_images((file,), data=data, resolution=resolution, seed=seed, on_progress=notes(on_note))

    def tensors(architecture: Architecture) -> Weights:
        if as_they_are or file.elastic:  # elastic ones are finished when they are chosen: it takes minutes
            return file.inherited(architecture)
        return inherited_weights(architecture, file.stored, splits, seed=seed)

    def finish(architecture: Architecture) -> Weights:
        on_note(f"fine-tuning the chosen network for {finetune} epochs ..." if finetune else recalibrating)
        with bar() as advance:
            return inherited_weights(
                architecture,
                file.stored,
                splits,
                finetune_epochs=finetune,
                seed=seed,
                on_progress=lambda progress: advance(progress.done, progress.total, progress.text),
            )

    def validate(architectures: Sequence[Architecture]) -> list[float]:
        images = len(splits.validation.labels)
        on_note(f"evaluating {len(architectures)} networks on {images} validation images of {data} ...")
        with bar() as advance:
            return _validated(file, architectures, splits, seed, advance)

    def top1(session: Session, batch: int) -> float:
        batches = ((images.numpy(), labels.numpy()) for images, labels in splits.test.batches(batch))
        return measure(session, batches, batch).top1_pct

    @cache
    def images() -> NDArray[np.float32]:
        order = shuffled(len(splits.train.labels), _SCALE_IMAGES, "scales", seed=seed)[:_SCALE_IMAGES]
        found, _ = next(splits.train.batches(_SCALE_IMAGES, order))
        return np.ascontiguousarray(found.numpy(), np.float32)

    def through_engine(session: Session, batch: int) -> Accuracy:
        order = shuffled(len(splits.validation.labels), _VALIDATION_IMAGES, "validation", seed=seed)
        given = splits.validation.batches(batch, order[:_VALIDATION_IMAGES])
        return measure(session, ((images.numpy(), labels.numpy()) for images, labels in given), batch)

    def evaluated(architecture: Architecture) -> Weights:
        if as_they_are:
            return file.inherited(architecture)
        return inherited_weights(architecture, file.stored, splits, seed=seed)

    named = f"validation images of {data}"
    lacking = isinstance(splits.validation, NoImages) or not len(splits.validation.labels)
    validation = None if lacking else Validation(evaluated, through_engine, named)
    how = "as they are" if as_they_are else "inherited, batch norm recalibrated"
    if file.elastic and not finetune:
        how += f" on {len(Statistics.elastic(splits, seed).order):,} training images"
    recalibrating = f"recalibrating batch norm of the network on training images of {data} ..."
    tuned = f", fine-tuned {finetune} epochs" if finetune else ""
    return WeightsSource(
        f"{file.path.name}: {how}{tuned}",
        tensors,
        finish if finetune or file.elastic else None,
        top1,
        f"on the {len(splits.test.labels)} test images of {data}",
        validate if file.supernet else None,
        images,
        preprocessing=preprocessing_of(file, splits.resolution),
        class_names=splits.class_names,
        batch_norm="" if as_they_are else f"recalibrated on training images of {data}",
        too_few=too_few(splits) if file.supernet else "",
        images_from=Path(data).absolute() if Path(data).is_dir() else None,
        validation=validation,
    )


def _validated(
    file: WeightsFile, architectures: Sequence[Architecture], splits: Splits, seed: int, advance: Advance
) -> list[float]:
    """Top-1 in percent of networks that inherit from a supernet, batch norm measured as an engine's is."""
    from train.compute import Compute
    from train.stages import Supernet, evaluate_subnets

    compute, count = Compute.on("auto", lanes=0), len(architectures)
    supernet = Supernet(architectures[0].space, file.tensors, compute, elastic=file.elastic)
    found = list[float]()
    for start in range(0, count, _TOGETHER):
        choices = [one.choices for one in architectures[start : start + _TOGETHER]]

        def report(seen: int, images: int, before: int = start, now: int = len(choices)) -> None:
            advance(before * images + now * seen, count * images, "evaluating the shortlist")

        subnets = evaluate_subnets(supernet, choices, splits, compute, seed, report)
        found += [subnet.evaluation.top1_pct for subnet in subnets]
    return found
