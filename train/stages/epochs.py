"""Training one network by SGD, epoch by epoch, with its state kept after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from train.compute import Compute, derive, distributed, enough_memory, shuffled, threads
from train.data import Splits
from train.errors import TrainingError
from train.progress import Evaluation, OnProgress, StageName, TrainingProgress, silent
from train.settings import MetaSettings, SinglePathSettings, SpecializedSettings
from train.stages.loop import Loss, all_finite, cross_entropy, evaluate, set_lr, train_epoch
from train.stages.state import load_state, save_state


@dataclass(frozen=True, slots=True)
class Measured:
    """The accuracy that stands for a network, and others by name, with their unit in the name."""

    evaluation: Evaluation
    others: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingStage:
    """What a network goes through: its name in errors, the settings, and the learning rate of an epoch.

    `stage` is that of its progress, `key` names its random orders, `remedy` what to change when memory is
    short (`train.compute.memory`). `passes` of each batch through the network make a step, with `share` of
    each one's gradient; `measure` says what the network is worth, where that is not just its accuracy.
    `earlier` and `later` are epochs of the progress's stage before and after this one.
    """

    name: str
    stage: StageName
    key: str
    settings: MetaSettings | SpecializedSettings | SinglePathSettings
    lr: Callable[[int], float]
    objective: Loss = cross_entropy
    remedy: str = "a batch of"
    passes: int = 1
    share: float = 1.0
    measure: Callable[[], Measured] | None = None
    earlier: int = 0
    later: int = 0


def train_epochs(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    splits: Splits,
    stage: TrainingStage,
    *,
    seed: int,
    compute: Compute,
    state: Path | None = None,
    on_progress: OnProgress = silent,
) -> Evaluation:
    """Train a network that lies on the device; its accuracy on the validation images in the end.

    With `state`, a file that holds the state after each epoch, training goes on where that file
    ends, with the result of an unbroken run. Raises TrainingError when the loss is not finite,
    OutOfMemoryError when the batch is too large; the state is then that of the last good epoch.
    """
    settings, scaler = stage.settings, compute.scaler()
    distributed.divided(stage.name, min(settings.batch, len(splits.train.labels)))
    start = 0
    if state and distributed.first(state.exists):
        start = load_state(state, network, optimizer, compute, scaler)
    with threads(settings.threads):
        measured = _measured(network, splits, stage, compute)
        for epoch in range(start, settings.epochs):
            report = _EpochReports(stage, epoch, _steps(splits, stage), on_progress)
            _epoch(network, optimizer, splits, stage, epoch, seed, compute, scaler, report.each(measured))
            measured = _measured(network, splits, stage, compute)
            if not all_finite(network.state_dict()):
                raise TrainingError(stage.name, (epoch + 1) * _steps(splits, stage))
            if state:
                distributed.first(partial(save_state, state, network, optimizer, epoch + 1, scaler))
            report.end(measured)
    return measured.evaluation


def _measured(network: nn.Module, splits: Splits, stage: TrainingStage, compute: Compute) -> Measured:
    return stage.measure() if stage.measure else Measured(evaluate(network, splits.validation, compute))


def _steps(splits: Splits, stage: TrainingStage) -> int:
    return max(len(splits.train.labels) // stage.settings.batch, 1)


def _epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    splits: Splits,
    stage: TrainingStage,
    epoch: int,
    seed: int,
    compute: Compute,
    scaler: torch.amp.GradScaler,
    after_step: Callable[[float], None],
) -> None:
    settings, first_step = stage.settings, epoch * _steps(splits, stage) + 1
    order = shuffled(len(splits.train.labels), settings.batch, stage.key, epoch, seed=seed)
    augment = derive(seed, "augment", epoch) if settings.augment else None
    batches = splits.train.batches(settings.batch, order, augment, distributed.share())
    set_lr(optimizer, stage.lr(epoch))
    with (
        compute.seeded(derive(seed, "dropout", epoch)),
        enough_memory(stage.name, settings.batch, stage.remedy),
    ):
        train_epoch(
            network,
            optimizer,
            batches,
            compute,
            stage.name,
            first_step,
            after_step,
            stage.objective,
            scaler,
            stage.passes,
            stage.share,
        )


class _EpochReports:
    """What an epoch (from 0) of `steps` steps reports: every step, and its end."""

    def __init__(self, stage: TrainingStage, epoch: int, steps: int, on_progress: OnProgress) -> None:
        self._stage, self._on_progress = stage, on_progress
        epochs = stage.earlier + stage.settings.epochs + stage.later
        self._done, self._total = (stage.earlier + epoch) * steps, epochs * steps
        self._text, self._lr = f"epoch {stage.earlier + epoch + 1} of {epochs}", stage.lr(epoch)
        self._losses: list[float] = []

    def each(self, before: Measured) -> Callable[[float], None]:
        """To be called after each step with its loss; `before` is the accuracy that the epoch began with."""

        def after_step(loss: float) -> None:
            self._done += 1
            self._losses.append(loss)
            self._report(loss, before, images=self._stage.settings.batch)

        return after_step

    def end(self, measured: Measured) -> None:
        """The epoch is over: its mean loss and its accuracy."""
        self._report(fmean(self._losses), measured, milestone=True)

    def _report(self, loss: float, accuracy: Measured, images: int = 0, milestone: bool = False) -> None:
        kind = "cross_entropy" if self._stage.objective is cross_entropy else "loss"
        top1 = ("validation_top1_pct", accuracy.evaluation.top1_pct)
        metrics = ((kind, loss), top1, *accuracy.others, ("lr", self._lr))
        self._on_progress(
            TrainingProgress(
                self._stage.stage,
                self._done,
                self._total,
                self._text,
                metrics,
                images=images,
                milestone=milestone,
            )
        )
