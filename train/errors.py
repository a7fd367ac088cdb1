"""Errors of training; they belong to the tree in `ponas_deploy/errors.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ponas_deploy.errors import PonasError


class TrainingError(PonasError):
    """The loss is no longer a finite number. Attributes: `stage`, `step` (optimizer steps, from 1)."""

    def __init__(self, stage: str, step: int) -> None:
        self.stage, self.step = stage, step
        super().__init__(
            f"the loss of {stage} is not a finite number at step {step}: the last good state is kept."
            f" Train with a smaller learning rate."
        )


class OutOfMemoryError(PonasError):
    """The device has not the memory for a batch. Attributes: `stage`, `batch`."""

    def __init__(self, stage: str, batch: int, remedy: str = "a batch of") -> None:
        self.stage, self.batch = stage, batch
        super().__init__(
            f"there is not the memory to train {stage} with {batch} images at once: try {remedy}"
            f" {max(batch // 2, 2)}."
        )


class OtherProcessError(PonasError):
    """Another process of the same training failed, and says itself why: this one has nothing to add."""

    def __init__(self) -> None:
        super().__init__("another process of this training failed: see what it says.")


class RunMismatchError(PonasError):
    """A run folder holds a run of other settings. Attributes: `path`, `changes` (one text a setting)."""

    def __init__(self, path: Path, changes: Sequence[str]) -> None:
        self.path, self.changes = path, tuple(changes)
        super().__init__(
            f"{path} holds a run of other settings ({'; '.join(changes)}): name another folder,"
            f" or use the settings it was started with."
        )
