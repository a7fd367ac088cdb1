"""The candidates of one layer between the two shared halves of the network: train, measure, compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from searchspace import Candidate, Layer
from train.compute import Compute, derive, distributed, shuffled
from train.data import Images
from train.errors import TrainingError
from train.networks import Block, crop
from train.progress import Evaluation
from train.settings import FineTuneSettings
from train.stages.descent import Descent
from train.stages.features import Through
from train.stages.loop import EVALUATION_BATCH, Tally, all_finite, recalibrate, sgd

CALIBRATION_IMAGES = 8192
"""How many training images measure batch norm statistics; more than enough for a mean of channels."""


def cropped(layer: Layer, source: nn.Module, compute: Compute) -> list[Block]:
    """Every candidate of a layer with weights cut out of its largest block `source`."""
    return [cut(candidate, source, compute) for candidate in layer.candidates]


def cut(candidate: Candidate, source: nn.Module, compute: Compute) -> Block:
    """A candidate with weights cut out of a larger block `source`."""
    with torch.device("meta"):  # no memory, no random numbers
        block = Block(candidate.ops)
    block.load_state_dict(crop(source.state_dict(), candidate.ops), assign=True)
    return compute.place(block)


@dataclass(frozen=True, slots=True)
class CandidateTraining:
    """One layer's candidates, and the halves of the network before and after them.

    Both halves stay in evaluation mode, so that images do not influence each other there: the outputs
    of several candidates go through `after` as one batch, with the result of one pass each. They
    train (the sum of the candidates' gradients) where their parameters require gradients.
    """

    name: str
    candidates: list[Block]
    before: nn.Module
    after: nn.Module
    settings: FineTuneSettings
    compute: Compute

    def train(self, images: Images, seed: int, after_step: Callable[[float], None]) -> None:
        """Fine-tune with strict fairness: each candidate gets exactly one update on each batch.

        `after_step` is called with the mean of the candidates' losses.

        Raises TrainingError at the first loss that is not finite, before that step changes anything, and
        when the last step left weights that are not finite.
        """
        settings, trained = self.settings, list(self._trained())
        optimizer = sgd(trained, settings.lr, settings.momentum, settings.weight_decay)
        descent = Descent(optimizer, self.compute.scaler())
        distributed.divided(self.name, min(settings.batch, len(images.labels)))
        self.before.eval()
        self.after.eval()
        step = 0
        for epoch in range(settings.epochs):
            order = shuffled(len(images.labels), settings.batch, self.name, epoch, seed=seed)
            augment = derive(seed, "augment", self.name, epoch)
            for candidate in self.candidates:
                candidate.train()
            for batch, labels in images.batches(settings.batch, order, augment, distributed.share()):
                step += 1
                self._backward(descent, self.compute.put(batch), self.compute.put(labels))
                loss = descent.step() / len(self.candidates)
                if not math.isfinite(loss):
                    raise TrainingError(self.name, step)
                after_step(loss)
        if not all(all_finite(candidate.state_dict()) for candidate in self.candidates):
            raise TrainingError(self.name, step)

    def recalibrate(self, images: Images, seed: int) -> None:
        """Measure the candidates' batch norm statistics on training images."""
        order = shuffled(len(images.labels), self.settings.batch, self.name, "statistics", seed=seed)
        recalibrate(
            self.candidates,
            Through(images, self.before, self.compute),
            order[:CALIBRATION_IMAGES],
            self.settings.batch,
            self.compute,
        )

    def evaluate(self, images: Images) -> tuple[Evaluation, ...]:
        """The accuracy of the network with each candidate."""
        tallies = [Tally() for _ in self.candidates]
        for candidate in self.candidates:
            candidate.eval()
        own = distributed.own_images(len(images.labels))
        for features, labels in Through(images, self.before, self.compute).batches(EVALUATION_BATCH, own):
            x, targets = self.compute.put(features), self.compute.put(labels)

            def add_group(group: range, x: Tensor = x, targets: Tensor = targets) -> None:
                with torch.no_grad():
                    logits = self._logits(x, group)
                for index, part in zip(group, logits, strict=True):
                    tallies[index].add(part, targets)

            self.compute.each(add_group, self._groups(len(labels)))
        return tuple(tally.everywhere().result() for tally in tallies)

    def _trained(self) -> Iterator[nn.Parameter]:
        for module in (*self.candidates, self.before, self.after):
            yield from (parameter for parameter in module.parameters() if parameter.requires_grad)

    def _backward(self, descent: Descent, batch: Tensor, labels: Tensor) -> None:
        """Add up the gradients of one batch."""
        with self.compute.precision():
            features = self.before(batch)
        shared = features.requires_grad  # some parameter before the candidates trains
        leaf = features.detach().requires_grad_(shared)

        def learn(group: range) -> None:
            losses = [F.cross_entropy(part, labels) for part in self._logits(leaf, group)]
            descent.backward(torch.stack(losses).sum())

        self.compute.each(learn, self._groups(len(labels)))
        if shared:
            torch.autograd.backward(features, leaf.grad)

    def _logits(self, features: Tensor, group: range) -> tuple[Tensor, ...]:
        """Logits (N, classes) of each candidate of a group on the same features."""
        with self.compute.precision():
            outputs = torch.cat([self.candidates[index](features) for index in group])
            logits: Tensor = self.after(outputs)
        return torch.chunk(logits.float(), len(group))

    def _groups(self, batch: int) -> Iterator[range]:
        """Candidates that share a pass, as many as `pass_images` allows; small and large ones mixed."""
        count = len(self.candidates)
        passes = math.ceil(count / max(self.settings.pass_images // batch, 1))
        for start in range(passes):
            yield range(start, count, passes)
