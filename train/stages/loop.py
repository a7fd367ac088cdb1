"""The loops that every stage shares: one epoch of SGD, evaluation, batch norm recalibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from train.compute import Compute, distributed
from train.data import Batch, Images
from train.errors import TrainingError
from train.networks import BatchNorm
from train.progress import Evaluation
from train.stages.descent import Descent

EVALUATION_BATCH = 256

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits (N, classes), labels (N,) and the images (N, 3, H, W) they belong to -> a scalar."""


def cross_entropy(logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
    """The loss of every stage that has labels alone to learn from."""
    return F.cross_entropy(logits, labels)


def smoothed_cross_entropy(label_smoothing: float) -> Loss:
    """The loss of labels of which that share is spread over all classes (arXiv 1512.00567, section 7)."""
    if not label_smoothing:
        return cross_entropy

    def loss(logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)

    return loss


def train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    compute: Compute,
    stage: str,
    first_step: int,
    after_step: Callable[[float], None],
    objective: Loss = cross_entropy,
    scaler: torch.amp.GradScaler | None = None,
    passes: int = 1,
    share: float = 1.0,
) -> None:
    """One epoch of `objective` over `batches`, this process's share of each.

    A step adds up `share` of the gradients of each of `passes` passes of its batch. `after_step` is called
    with the mean of their losses; `scaler` goes on from epoch to epoch. Raises TrainingError at the first
    loss that is not finite, before that step changes any weight.
    """
    network.train()
    descent = Descent(optimizer, scaler or compute.scaler())
    for step, (batch, labels) in enumerate(batches, start=first_step):
        images, targets = compute.put(batch), compute.put(labels)
        for _ in range(passes):
            with compute.precision():
                loss = objective(network(images), targets, images)
            descent.backward(loss * share)
        value = descent.step() / (passes * share)
        if not math.isfinite(value):
            raise TrainingError(stage, step)
        after_step(value)


def evaluate(network: nn.Module, images: Images, compute: Compute) -> Evaluation:
    """Accuracy of a network on labelled images; it is left in evaluation mode."""
    network.eval()
    tally = Tally()
    with torch.inference_mode():
        for batch, labels in images.batches(EVALUATION_BATCH, distributed.own_images(len(images.labels))):
            with compute.precision():
                logits = network(compute.put(batch))
            tally.add(logits, compute.put(labels))
    return tally.everywhere().result()


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

    def everywhere(self) -> Tally:
        """What all processes have seen, each its own images."""
        seen = torch.tensor([self._top1, self._top5, self._images, self._loss], dtype=torch.float64)
        top1, top5, images, self._loss = distributed.total(seen).tolist()
        self._top1, self._top5, self._images = int(top1), int(top5), int(images)
        return self

    def result(self) -> Evaluation:
        """What was seen so far."""
        count = self._images
        return Evaluation(100 * self._top1 / count, 100 * self._top5 / count, self._loss / count, count)


def recalibrate(
    networks: Iterable[nn.Module],
    images: Images,
    order: Tensor,
    size: int,
    compute: Compute,
    *,
    augment: int | None = None,
    biased: bool = False,
    on_images: Callable[[int], None] | None = None,
) -> None:
    """Measure the batch norm statistics of each network again, as averages over batches of `size` images.

    Running averages lag behind weights that moved, and those of a cropped block belong to another
    block. Each network sees the same batches; nothing but its running statistics changes. Several
    processes take turns, a batch each. `augment` is the seed of the images' augmentation; `biased` keeps the
    variance that a batch is normalised with, else its estimate for all images. `on_images` is called with how
    many images were seen.
    """
    networks = list(networks)
    norms = [module for network in networks for module in network.modules() if isinstance(module, BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for network in networks:
        network.eval()
    for norm in norms:
        norm.train()
    hooks = [hook for norm in norms if biased for hook in _biased(norm)]
    seen = 0
    own = torch.split(order, size)[distributed.rank() :: distributed.size()]
    for batch, _ in images.batches(size, torch.cat(own), augment) if own else ():
        seen += len(batch)
        for norm in norms:
            norm.momentum = len(batch) / seen  # a plain average over all images
        compute.each(partial(_pass_through, compute.put(batch), compute), networks)
        if on_images:
            on_images(seen)
    for hook in hooks:
        hook.remove()
    _average(norms, seen)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _biased(norm: BatchNorm) -> tuple[RemovableHandle, RemovableHandle]:
    """From now on the running variance averages the variances that batches are normalised with.

    torch averages n / (n - 1) times those, of n values a channel.
    """
    before: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        before[:] = [norm.running_var.clone()] if norm.running_var is not None else []

    def correct(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values = inputs[0].numel() / inputs[0].shape[1]
        if before and norm.running_var is not None:
            kept = (1 - (norm.momentum or 0)) * before[0]
            norm.running_var = kept + (norm.running_var - kept) * (values - 1) / values

    return norm.register_forward_pre_hook(keep), norm.register_forward_hook(correct)


def _average(norms: list[BatchNorm], seen: int) -> None:
    """Running statistics of `seen` images -> those of the images that all processes have seen."""
    if distributed.size() == 1:
        return
    statistics = [
        each for norm in norms for each in (norm.running_mean, norm.running_var) if each is not None
    ]
    flat = torch.cat([*(seen * each for each in statistics), statistics[0].new_tensor([seen])])
    summed = distributed.total(flat)
    parts = torch.split(summed[:-1], [len(each) for each in statistics])
    for each, part in zip(statistics, parts, strict=True):
        each.copy_(part / summed[-1])


def _pass_through(images: Tensor, compute: Compute, network: nn.Module) -> None:
    with torch.no_grad(), compute.precision():
        network(images)


def decay_groups(network: nn.Module, weight_decay: float) -> Iterator[dict[str, Any]]:
    """The parameters of an optimizer: weights decay; biases and batch norms do not."""
    norms = {id(each) for one in network.modules() if isinstance(one, BatchNorm) for each in one.parameters()}
    decaying, plain = list[nn.Parameter](), list[nn.Parameter]()
    for name, each in network.named_parameters():
        (plain if id(each) in norms or name.endswith(".bias") else decaying).append(each)
    yield {"params": decaying, "weight_decay": weight_decay}
    yield {"params": plain, "weight_decay": 0.0}


def sgd(
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool = False,
) -> torch.optim.SGD:
    """The optimizer of every stage of the paper; without momentum `nesterov` changes nothing."""
    nesterov = nesterov and momentum > 0  # torch refuses it otherwise
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` from now on."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def all_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether no value is NaN or infinite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
