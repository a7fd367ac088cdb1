"""A supernet with shared weights fitted to other images: a new classifier first, then everything.

Each step trains on random networks, so that all come along (Once-for-all, arXiv 1908.09791, section 3.3).
Batch norm takes the batch's statistics: those that a supernet is stored with are no single network's. Both
stages share one optimizer, so that its state after an epoch is all that the next one needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean

from torch.nn import functional as F

from searchspace import Architecture
from searchspace.elastic import largest_network
from searchspace.ops import Linear
from searchspace.space import HEAD
from train.compute import Compute, derive, enough_memory, few_threads, generator, shuffled
from train.data import Batch, Splits
from train.errors import TrainingError
from train.networks import ElasticNetwork
from train.progress import Evaluation, OnProgress, StageName, TrainingProgress, silent
from train.settings import TransferSettings
from train.stages.descent import Descent
from train.stages.loop import all_finite, evaluate, set_lr, sgd
from train.stages.opening import Opening, draw
from train.stages.state import load_state, save_state
from train.stages.statistics import Statistics

_WATCH_IMAGES, _WATCH_BATCH = 128, 64
"""Training images that measure the largest network's batch norm after an epoch, to see how good it is."""


def new_classifier(network: ElasticNetwork, seed: int) -> None:
    """Weights to start from for the classes of `network`: N(0, 0.01), biases 0."""
    random = generator(seed, "classifier")
    for name, tensor in network.named_parameters():
        if _of_classifier(network, name):
            if name.endswith("bias"):
                tensor.data.zero_()
            else:
                tensor.data.normal_(0.0, 0.01, generator=random)


def classifier_names(network: ElasticNetwork) -> tuple[str, ...]:
    """The tensors of the last operation of the head: what depends on the classes."""
    return tuple(name for name in network.state_dict() if _of_classifier(network, name))


def _of_classifier(network: ElasticNetwork, name: str) -> bool:
    last = network.space.head[-1]
    return isinstance(last, Linear) and name.startswith(f"{HEAD}.{last.name}.")


def train_transfer(
    network: ElasticNetwork,
    splits: Splits,
    settings: TransferSettings,
    *,
    seed: int,
    compute: Compute,
    state: Path | None = None,
    on_progress: OnProgress = silent,
) -> None:
    """Train a supernet that lies on the device.

    With `state`, a file that holds the state after each epoch, training goes on where that file ends, with
    the result of an unbroken run. Raises TrainingError when the loss is not finite, OutOfMemoryError when the
    batch is too large; the state is then that of the last good epoch.
    """
    optimizer = sgd(
        network.parameters(), settings.head_lr, settings.momentum, settings.weight_decay, nesterov=True
    )
    scaler = compute.scaler()
    start = load_state(state, network, optimizer, compute, scaler) if state and state.exists() else 0
    with few_threads(splits.resolution):
        for stage in _stages(settings):
            for epoch in range(max(start - stage.first, 0), stage.epochs):
                _freeze(network, stage)
                set_lr(optimizer, stage.lr_of(epoch))
                training = _Epoch(network, splits, settings, stage, epoch, seed, compute)
                losses = training.run(Descent(optimizer, scaler), on_progress)
                if not all_finite(network.state_dict()):
                    raise TrainingError(stage.text, len(losses))
                if state:
                    save_state(state, network, optimizer, stage.first + epoch + 1, scaler)
                training.report_end(fmean(losses), _watched(network, splits, seed, compute), on_progress)


@dataclass(frozen=True, slots=True)
class _Stage:
    """What trains for so many epochs; `first` epochs of the stage before come first."""

    name: StageName
    text: str
    epochs: int
    lr: float
    first: int
    classifier_alone: bool

    def lr_of(self, epoch: int) -> float:
        """Half a cosine, epoch by epoch."""
        return 0.5 * self.lr * (1 + math.cos(math.pi * epoch / self.epochs))


def _stages(settings: TransferSettings) -> tuple[_Stage, _Stage]:
    head = _Stage("head", "the classifier", settings.head_epochs, settings.head_lr, 0, True)
    return head, _Stage("fine-tune", "everything", settings.epochs, settings.lr, head.epochs, False)


def _freeze(network: ElasticNetwork, stage: _Stage) -> None:
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not stage.classifier_alone or _of_classifier(network, name))


@dataclass(frozen=True, slots=True)
class _Epoch:
    """One pass over the training images: each batch goes through some random networks."""

    network: ElasticNetwork
    splits: Splits
    settings: TransferSettings
    stage: _Stage
    epoch: int
    seed: int
    compute: Compute

    def run(self, descent: Descent, on_progress: OnProgress) -> list[float]:
        """Train; the mean loss of the networks of each step."""
        self.network.train()
        losses = list[float]()
        with enough_memory(self.stage.text, self.settings.batch), self._dropout():
            for (images, labels), networks in zip(self._batches(), self._networks(), strict=False):
                x, targets = self.compute.put(images), self.compute.put(labels)
                for architecture in networks:
                    self.network.activate(architecture)
                    with self.compute.precision():
                        loss = F.cross_entropy(self.network(x), targets)
                    descent.backward(loss / len(networks))
                losses.append(descent.step())
                if not math.isfinite(losses[-1]):
                    raise TrainingError(self.stage.text, self.epoch * self._steps + len(losses))
                self._report(on_progress, len(losses), losses[-1], images=len(labels))
        return losses

    def report_end(self, loss: float, found: Evaluation, on_progress: OnProgress) -> None:
        """The epoch is over: its mean loss, and the accuracy of the largest network."""
        self._report(on_progress, self._steps, loss, found.top1_pct, milestone=True)

    def _batches(self) -> Iterator[Batch]:
        name, settings, seed = self.stage.name, self.settings, self.seed
        order = shuffled(len(self.splits.train.labels), settings.batch, name, self.epoch, seed=seed)
        augment = derive(seed, "augment", name, self.epoch) if settings.augment else None
        return self.splits.train.batches(settings.batch, order, augment)

    def _networks(self) -> Iterator[list[Architecture]]:
        choose = Random(derive(self.seed, "networks", self.stage.name, self.epoch)).randrange
        space = self.network.space
        whole = Opening.whole(space)
        while True:
            yield [draw(space, whole, choose) for _ in range(self.settings.subnets)]

    def _dropout(self) -> AbstractContextManager[None]:
        return self.compute.seeded(derive(self.seed, "dropout", self.stage.name, self.epoch))

    @property
    def _steps(self) -> int:
        return max(len(self.splits.train.labels) // self.settings.batch, 1)

    def _report(
        self,
        on_progress: OnProgress,
        step: int,
        loss: float,
        top1_pct: float | None = None,
        images: int = 0,
        milestone: bool = False,
    ) -> None:
        stage, steps = self.stage, self._steps
        metrics = [("cross_entropy", loss), ("lr", stage.lr_of(self.epoch))]
        if top1_pct is not None:
            metrics.append(("validation_top1_pct", top1_pct))
        text = f"epoch {self.epoch + 1} of {stage.epochs}"
        done, total = self.epoch * steps + step, stage.epochs * steps
        on_progress(
            TrainingProgress(
                stage.name, done, total, text, tuple(metrics), images=images, milestone=milestone
            )
        )


def _watched(network: ElasticNetwork, splits: Splits, seed: int, compute: Compute) -> Evaluation:
    """The accuracy of the largest network on the validation images."""
    largest = compute.place(network.subnet(largest_network(network.space)))
    Statistics.plain(splits, _WATCH_BATCH, _WATCH_IMAGES, seed).measure([largest], compute)
    return evaluate(largest, splits.validation, compute)
