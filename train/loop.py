"""The loops that every stage shares: one epoch of SGD, evaluation, batch norm recalibration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.compute import Compute
from train.data import Batch, Images
from train.errors import TrainingError
from train.modules import BatchNorm

EVALUATION_BATCH = 256


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Top-1 and top-5 in percent and mean cross entropy (nats) over `images` images.

    With fewer than five classes top-5 counts all of them.
    """

    top1_pct: float
    top5_pct: float
    cross_entropy: float
    images: int


def train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    compute: Compute,
    stage: str,
    first_step: int,
    after_step: Callable[[float], None],
) -> None:
    """One pass of cross entropy over `batches`; `after_step` is told the loss of each.

    Raises TrainingError at the first loss that is not finite, before that step changes anything.
    """
    network.train()
    for step, (images, labels) in enumerate(batches, start=first_step):
        with compute.precision():
            loss = F.cross_entropy(network(compute.put(images)), compute.put(labels))
        value = loss.item()
        if not torch.isfinite(loss):
            raise TrainingError(stage, step)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        after_step(value)


def evaluate(network: nn.Module, images: Images, compute: Compute) -> Evaluation:
    """Accuracy of a network on labelled images; it is left in evaluation mode."""
    network.eval()
    tally = Tally()
    with torch.inference_mode():
        for batch, labels in images.batches(EVALUATION_BATCH):
            with compute.precision():
                logits = network(compute.put(batch))
            tally.add(logits, compute.put(labels))
    return tally.result()


class Tally:
    """Adds up an evaluation batch by batch."""

    def __init__(self) -> None:
        self._top1 = self._top5 = self._images = 0
        self._loss = 0.0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Logits (N, classes) and labels (N,)."""
        ranked = logits.float().topk(min(5, logits.shape[1])).indices
        hits = ranked == labels[:, None]
        self._top1 += int(hits[:, 0].sum())
        self._top5 += int(hits.any(1).sum())
        self._loss += F.cross_entropy(logits.float(), labels, reduction="sum").item()
        self._images += len(labels)

    def result(self) -> Evaluation:
        """What was seen so far."""
        count = self._images
        return Evaluation(100 * self._top1 / count, 100 * self._top5 / count, self._loss / count, count)


def recalibrate(
    networks: Iterable[nn.Module], images: Images, order: Tensor, size: int, compute: Compute
) -> None:
    """Measure the batch norm statistics of each network anew, as averages over batches of `size` images.

    Running averages lag behind weights that moved, and those of a cropped block belong to another
    block. Each network sees the same batches; nothing but its running statistics changes.
    """
    networks = list(networks)
    norms = [module for network in networks for module in network.modules() if isinstance(module, BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for network in networks:
        network.eval()
    for norm in norms:
        norm.train()
    seen = 0
    for batch, _ in images.batches(size, order):
        seen += len(batch)
        for norm in norms:
            norm.momentum = len(batch) / seen  # a plain average over all images
        compute.each(partial(_look_at, compute.put(batch), compute), networks)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _look_at(images: Tensor, compute: Compute, network: nn.Module) -> None:
    with torch.no_grad(), compute.precision():
        network(images)


def sgd(
    parameters: Iterable[nn.Parameter],
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool = False,
) -> torch.optim.SGD:
    """The optimizer of every stage of the paper."""
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` from now on."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def all_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether no value is NaN or infinite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
