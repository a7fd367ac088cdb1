"""Accuracy through an engine: images go through the runtime that is deployed, not through the trainer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import Session


def top1_pct(
    session: Session, batches: Iterable[tuple[NDArray[np.float32], NDArray[np.int64]]], size: int
) -> float:
    """Top-1 in percent over batches of at most `size` normalised images (N, 3, H, W) with labels (N,).

    `size` is the engine's fixed batch: a smaller one is filled up with zeros.
    """
    right, seen = 0, 0
    for images, labels in batches:
        filled = np.zeros((size, *images.shape[1:]), np.float32)
        filled[: len(labels)] = images
        guesses = session.run(filled)[: len(labels)].argmax(axis=1)
        right += int((guesses == labels).sum())
        seen += len(labels)
    return 100 * right / seen
