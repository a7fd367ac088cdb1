"""Bounds that settings are held to: what could not even start is refused. No torch."""

from __future__ import annotations

from typing import Any

from ponas_deploy.files.bounds import Batch, Epochs, bounds_of
from ponas_deploy.files.records import in_words
from searchspace import PonasError


def not_below(least: int, **values: float) -> None:
    """Raise PonasError for a value that cannot be."""
    for name, value in values.items():
        if not value >= least:
            raise PonasError(f"{name} is {value:g}: it must be {least} or more.")


def not_above(kind: Any, **values: float) -> None:
    """Raise PonasError for a value above the bound of its kind (`ponas_deploy.files.bounds`)."""
    _, most = bounds_of(kind)
    for name, value in values.items():
        if most is not None and value > most:
            raise PonasError(f"{name} is {in_words(value)}: it must be {most} or less.")


def check_smoothing(label_smoothing: float) -> None:
    """Raise PonasError for a share of a label's weight that cannot be spread over all classes."""
    if not 0 <= label_smoothing < 1:
        raise PonasError(f"label smoothing of {label_smoothing:g}: it must be from 0 to below 1.")


def check_start(stage: str, epochs: int, batch: int, lr: float) -> None:
    """Raise PonasError where training could not even start."""
    if epochs < 1:
        raise PonasError(f"{epochs} epochs of {stage}: at least 1 is needed.")
    if batch < 2:
        raise PonasError(f"a batch of {batch} in {stage}: batch norm needs at least 2 images.")
    if not lr > 0:
        raise PonasError(f"a learning rate of {lr:g} in {stage}: it must be above 0.")
    not_above(Epochs, epochs=epochs)
    not_above(Batch, batch=batch)
