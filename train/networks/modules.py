"""Torch modules built from the operations of `searchspace.ops`: the trainable reader of a block.

The keys of a `state_dict` are exactly the names of `searchspace.ops.parameters`, so that weights
travel between training, the ONNX graph and other people's programs without a translation table.
Tensors are NCHW float32.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from searchspace import Architecture
from searchspace.ops import (
    BATCH_NORM_EPS,
    Activation,
    Branches,
    Conv,
    Dropout,
    Gate,
    GlobalPool,
    Linear,
    Op,
    Residual,
    Shuffle,
    SqueezeExcite,
    assert_never,
    walk,
)
from train.compute import distributed
from train.networks import synchronised
from train.networks.convolution import Convolution

Weighted: TypeAlias = Conv | SqueezeExcite | Linear
"""The operations that have parameters, and so a module."""


def plain_module(op: Weighted) -> nn.Module:
    """The module of an operation."""
    if isinstance(op, Conv):
        return ConvNorm(op)
    if isinstance(op, SqueezeExcite):
        return SqueezeExcitation(op)
    if isinstance(op, Linear):
        return LinearActivation(op)
    assert_never(op)


class Block(nn.Module):
    """Operations in a row; (N, C, H, W) -> (N, C', H', W'), or (N, classes) for a head.

    `make` makes the modules of those that have parameters.
    """

    def __init__(self, ops: tuple[Op, ...], make: Callable[[Weighted], nn.Module] = plain_module) -> None:
        super().__init__()
        self.ops = ops
        for op in walk(ops):
            if isinstance(op, (Conv, SqueezeExcite, Linear)):
                self.add_module(op.name, make(op))

    def close_residuals(self) -> None:
        """Set the last batch norm of each residual to 0: `x + body(x)` becomes `x`."""
        for op in self.ops:
            if isinstance(op, Residual) and isinstance(op.body[-1], Conv):
                last = self.get_submodule(op.body[-1].name)
                nn.init.zeros_(last.norm.weight)  # type: ignore[arg-type, union-attr]

    def forward(self, x: Tensor) -> Tensor:
        """Apply every operation."""
        return self._apply_ops(self.ops, x)

    def _apply_ops(self, ops: tuple[Op, ...], x: Tensor) -> Tensor:
        for op in ops:
            if isinstance(op, Residual):
                x = x + self._apply_ops(op.body, x)
            elif isinstance(op, Branches):
                parts = x.chunk(len(op.rows), 1) if op.split else [x] * len(op.rows)
                ends = [self._apply_ops(row, part) for row, part in zip(op.rows, parts, strict=True)]
                x = torch.cat(ends, 1)
            elif isinstance(op, Shuffle):
                x = shuffled(x, op.groups)
            elif isinstance(op, GlobalPool):
                x = x.mean((2, 3), keepdim=not op.flatten)
            elif isinstance(op, Dropout):
                x = synchronised.dropout(x, op.rate, self.training)
            elif isinstance(op, (Conv, SqueezeExcite, Linear)):
                x = self._modules[op.name](x)  # type: ignore[misc]
            else:
                assert_never(op)
        return x


def shuffled(x: Tensor, groups: int) -> Tensor:
    """The channels of (N, C, H, W) taken from each of the groups in turn."""
    count, channels, height, width = x.shape
    parts = x.reshape(count, groups, channels // groups, height, width)
    return parts.transpose(1, 2).reshape(x.shape)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, activation."""

    def __init__(self, op: Conv) -> None:
        super().__init__()
        self.conv = Convolution(
            op.in_channels,
            op.out_channels,
            op.kernel,
            op.stride,
            op.kernel // 2,
            groups=op.groups,
            bias=False,
        )
        self.norm: nn.Module = BatchNorm(op.out_channels, eps=BATCH_NORM_EPS)
        self.activation: Activation | None = op.activation

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H / stride, W / stride)."""
        x = self.norm(self.conv(x))
        return x if self.activation is None else activate(self.activation, x)


class LinearActivation(nn.Linear):
    """Linear layer, activation."""

    def __init__(self, op: Linear) -> None:
        super().__init__(op.in_features, op.out_features, op.bias)
        self.activation: Activation | None = op.activation

    def forward(self, x: Tensor) -> Tensor:
        """(N, in) -> (N, out)."""
        x = super().forward(x)
        return x if self.activation is None else activate(self.activation, x)


def activate(kind: Activation, x: Tensor) -> Tensor:
    """Any shape -> the same."""
    if kind == "relu":
        return F.relu(x)
    if kind == "relu6":
        return F.relu6(x)
    if kind == "hswish":
        return F.hardswish(x)
    assert_never(kind)


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that keeps no count of batches: its four tensors are those of `searchspace.ops`.

    While several processes train, the batch is that of all of them.
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__(channels, eps=eps)
        self.register_buffer("num_batches_tracked", None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        if self.training and torch.is_grad_enabled() and distributed.size() > 1:
            return synchronised.batch_norm(
                x, self.weight, self.bias, self.statistics(), self.momentum or 0.0, self.eps
            )
        return super().forward(x)

    def statistics(self) -> tuple[Tensor, Tensor] | None:
        """The running mean and variance."""
        if self.running_mean is None or self.running_var is None:
            return None
        return self.running_mean, self.running_var

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1."""
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)

    def _load_from_state_dict(self, *args: Any) -> None:
        # nn.BatchNorm2d would add a count to plain dictionaries, and then find it unexpected.
        nn.Module._load_from_state_dict(self, *args)


class SqueezeExcitation(nn.Module):
    """Average pool, 1x1, ReLU, 1x1, gate, multiply."""

    def __init__(self, op: SqueezeExcite) -> None:
        super().__init__()
        self.reduce = Convolution(op.channels, op.hidden, 1)
        self.expand = Convolution(op.hidden, op.channels, 1)
        self.kind: Gate = op.gate

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        gate = self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * gated(self.kind, gate)


def gated(kind: Gate, x: Tensor) -> Tensor:
    """Any shape -> the same, between 0 and 1."""
    if kind == "sigmoid":
        return torch.sigmoid(x)
    if kind == "hard_sigmoid":
        return F.hardsigmoid(x)
    assert_never(kind)


class Network(nn.Module):
    """A whole network: images (N, 3, resolution, resolution) -> logits (N, classes)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        space = architecture.space
        self.stem = Block(space.stem)
        self.layers = nn.ModuleDict(
            {
                layer.name: Block(layer.candidate(label).ops)
                for layer, label in zip(space.layers, architecture.choices, strict=True)
            }
        )
        self.head = Block(space.head)

    def parts(self) -> list[Block]:
        """Stem, layers and head in order."""
        return [self.stem, *self.layers.values(), self.head]  # type: ignore[list-item]

    def replace(self, layer: int, label: str, block: Block) -> None:
        """Put another candidate, `label`, at position `layer` (from 0)."""
        space, choices = self.architecture.space, list(self.architecture.choices)
        choices[layer] = label
        self.architecture = Architecture(space, tuple(choices))
        self.layers[space.layers[layer].name] = block

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images."""
        x = images
        for part in self.parts():
            x = part(x)
        return x


def initialise(network: nn.Module, random: torch.Generator) -> None:
    """Values to train from: He-normal convolutions, linear layers N(0, 0.01), biases 0 (arXiv 1502.01852).

    The last batch norm of a residual starts at 0, so that the block starts as the identity (arXiv
    1706.02677, section 5.1): on digits, 12 epochs at lr 0.1, one seed: 97 % with it, 32 % without.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(0.0, math.sqrt(2.0 / fan_in), generator=random)
        elif isinstance(module, nn.Linear):
            module.weight.data.normal_(0.0, 0.01, generator=random)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            module.bias.data.zero_()
        elif isinstance(module, Block):
            module.close_residuals()


def frozen(parts: Iterable[nn.Module]) -> nn.Sequential:
    """A copy of `parts` in a row for inference only: no gradients, batch norm folded into convolutions."""
    copied = copy.deepcopy(nn.Sequential(*parts)).eval().requires_grad_(False)
    for module in copied.modules():
        if isinstance(module, ConvNorm) and isinstance(module.norm, BatchNorm):
            _fold(module.conv, module.norm)
            module.norm = nn.Identity()
    return copied


def _fold(conv: nn.Conv2d, norm: BatchNorm) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    conv.weight.mul_(scale[:, None, None, None])
    conv.bias = nn.Parameter(norm.bias - norm.running_mean * scale, requires_grad=False)
