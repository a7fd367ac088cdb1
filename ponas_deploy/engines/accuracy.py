"""Accuracy through an engine: images go through the runtime that is deployed, not through the trainer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import Session
from ponas_deploy.backends.protocol import RunsMany
from ponas_deploy.errors import PonasError
from ponas_deploy.remote.images import grouped

# How far top-1 through an engine may lie from top-1 through torch: float32 differs in the last digits of
# logits, which decides no more than ties; a shorter format moves answers that were close.
_AGREEMENT_PP = {"fp32": 0.1, "tf32": 0.2, "fp16": 0.5}
_AGREEMENT_SHORT_PP = 1.0


Batch: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Top-1 and top-5 in percent over `images` images; with fewer than five classes top-5 counts all."""

    top1_pct: float
    top5_pct: float
    images: int


def measure(session: Session, batches: Iterable[Batch], size: int) -> Accuracy:
    """Accuracy over batches of at most `size` normalised images (N, 3, H, W) with labels (N,).

    `size` is the engine's fixed batch: a smaller one is filled up with zeros. PonasError when there is no
    image, or when the engine's logits are not finite.
    """
    top1 = top5 = seen = 0
    for logits, labels in _answers(session, ((_filled(one, size), labels) for one, labels in batches), size):
        if not np.isfinite(logits).all():
            raise PonasError("the engine answers with NaN or infinity: export it again, or in fp32.")
        hits = np.argsort(-logits, axis=1, kind="stable")[:, :5] == labels[:, None]
        top1 += int(hits[:, 0].sum())
        top5 += int(hits.sum())
        seen += len(labels)
    if not seen:
        raise PonasError("there is no image to measure accuracy on.")
    return Accuracy(100 * top1 / seen, 100 * top5 / seen, seen)


def _answers(session: Session, batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """The logits of the images of each batch, beside their labels."""
    if not isinstance(session, RunsMany):
        for images, labels in batches:
            yield session.run(images)[: len(labels)], labels
        return
    for group in grouped(batches, lambda batch: batch[0].nbytes):
        found = session.run_many(np.concatenate([images for images, _ in group]), size)
        for place, (_, labels) in enumerate(group):
            yield found[place * size :][: len(labels)], labels


def _filled(images: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Images filled up with zeros to the engine's batch."""
    filled = np.zeros((size, *images.shape[1:]), np.float32)
    filled[: len(images)] = images
    return filled


def agree(one: Accuracy, other: Accuracy, precision: str) -> bool:
    """Whether two measurements on the same images are the same network's, the second in `precision`.

    One image more or less is always allowed.
    """
    allowed_pp = max(_AGREEMENT_PP.get(precision, _AGREEMENT_SHORT_PP), 100 / max(one.images, 1))
    return one.images == other.images and abs(one.top1_pct - other.top1_pct) <= allowed_pp + 1e-9
