"""Progressive fine-tuning of one layer the plain way: every candidate its own network, pass and optimizer.

Nothing is shared, kept or folded. An independent reference for `train.stages.candidates`.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from searchspace import Space
from train.compute import Compute, shuffled
from train.data import Splits
from train.networks import Block, Network, crop
from train.progress import Evaluation
from train.settings import FineTuneSettings
from train.stages import evaluate


def candidates_one_by_one(
    space: Space,
    network: Network,
    splits: Splits,
    settings: FineTuneSettings,
    layer: int,
    seed: int,
    compute: Compute,
) -> list[tuple[Block, Evaluation]]:
    """Each candidate of a layer after fine-tuning, batch norm measured again, and its accuracy."""
    name = space.layers[layer].name
    results = []
    for candidate in space.layers[layer].candidates:
        whole = copy.deepcopy(network)
        block = Block(candidate.ops)
        block.load_state_dict(crop(whole.layers[name].state_dict(), candidate.ops))
        whole.replace(layer, candidate.label, compute.place(block))
        optimizer = torch.optim.SGD(
            block.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay
        )
        for epoch in range(settings.epochs):
            order = shuffled(len(splits.train.labels), settings.batch, f"layer {name}", epoch, seed=seed)
            for images, labels in splits.train.batches(settings.batch, order):
                whole.eval()
                block.train()
                optimizer.zero_grad()
                F.cross_entropy(whole(compute.put(images)), compute.put(labels)).backward()
                optimizer.step()
        _statistics(whole, block, splits, settings, name, seed, compute)
        results.append((block, evaluate(whole, splits.validation, compute)))
    return results


def _statistics(
    whole: Network,
    block: Block,
    splits: Splits,
    settings: FineTuneSettings,
    name: str,
    seed: int,
    compute: Compute,
) -> None:
    """Average mean and variance over the batches, taken from what reaches each batch norm."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    seen: dict[nn.Module, list[tuple[torch.Tensor, torch.Tensor]]] = {norm: [] for norm in norms}

    def record(norm: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        x = inputs[0].transpose(0, 1).flatten(1)
        seen[norm].append((x.mean(1), x.var(1)))

    hooks = [norm.register_forward_pre_hook(record) for norm in norms]
    whole.eval()
    for norm in norms:
        norm.train()
    order = shuffled(len(splits.train.labels), settings.batch, f"layer {name}", "statistics", seed=seed)
    with torch.no_grad():
        for images, _ in splits.train.batches(settings.batch, order):
            whole(compute.put(images))
        for norm in norms:
            means, variances = zip(*seen[norm], strict=True)
            norm.running_mean.copy_(torch.stack(means).mean(0))
            norm.running_var.copy_(torch.stack(variances).mean(0))
    for hook in hooks:
        hook.remove()
    whole.eval()
