"""The operations a block is made of, and the parameters each of them has.

A block is a tuple of operations, described once. Three readers build from it: a torch module
(`train/networks/modules.py`), an ONNX graph (`searchspace/graph.py`) and a cost (`searchspace/cost.py`).
Tensors are NCHW; every convolution pads by `kernel // 2`, so that stride 1 keeps the size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Activation = Literal["relu", "relu6"]
Role = Literal["weight", "bias", "norm_weight", "norm_bias", "norm_mean", "norm_var"]

BATCH_NORM_EPS = 1e-5


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution without bias, then batch norm, then `activation` (None: linear)."""

    name: str
    in_channels: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: Activation | None = None


@dataclass(frozen=True, slots=True)
class SqueezeExcite:
    """Average pool, 1x1 to `hidden`, ReLU, 1x1 back, sigmoid, multiply (arXiv 1709.01507)."""

    name: str
    channels: int
    hidden: int


@dataclass(frozen=True, slots=True)
class Residual:
    """`x + body(x)`."""

    body: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """Average over height and width, flattened: (N, C, H, W) -> (N, C)."""


@dataclass(frozen=True, slots=True)
class Dropout:
    """Dropout in training; nothing at inference."""

    rate: float


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer with bias: (N, in_features) -> (N, out_features)."""

    name: str
    in_features: int
    out_features: int


Op = Conv | SqueezeExcite | Residual | GlobalPool | Dropout | Linear


@dataclass(frozen=True, slots=True)
class Parameter:
    """One tensor of a network: its name in a weights file, its shape, what it is for."""

    name: str
    shape: tuple[int, ...]
    role: Role

    @property
    def trainable(self) -> bool:
        """Whether it counts as a parameter (running statistics do not)."""
        return self.role not in ("norm_mean", "norm_var")


def parameters(ops: tuple[Op, ...], prefix: str) -> Iterator[Parameter]:
    """Every tensor of `ops`, named below `prefix`, in the order of the operations."""
    for op in ops:
        if isinstance(op, Residual):
            yield from parameters(op.body, prefix)
        elif isinstance(op, Conv):
            yield from _conv_parameters(op, f"{prefix}.{op.name}")
        elif isinstance(op, SqueezeExcite):
            name, wide, narrow = f"{prefix}.{op.name}", op.channels, op.hidden
            yield Parameter(f"{name}.reduce.weight", (narrow, wide, 1, 1), "weight")
            yield Parameter(f"{name}.reduce.bias", (narrow,), "bias")
            yield Parameter(f"{name}.expand.weight", (wide, narrow, 1, 1), "weight")
            yield Parameter(f"{name}.expand.bias", (wide,), "bias")
        elif isinstance(op, Linear):
            name = f"{prefix}.{op.name}"
            yield Parameter(f"{name}.weight", (op.out_features, op.in_features), "weight")
            yield Parameter(f"{name}.bias", (op.out_features,), "bias")


def _conv_parameters(op: Conv, name: str) -> Iterator[Parameter]:
    shape = (op.out_channels, op.in_channels // op.groups, op.kernel, op.kernel)
    yield Parameter(f"{name}.conv.weight", shape, "weight")
    channels = (op.out_channels,)
    yield Parameter(f"{name}.norm.weight", channels, "norm_weight")
    yield Parameter(f"{name}.norm.bias", channels, "norm_bias")
    yield Parameter(f"{name}.norm.running_mean", channels, "norm_mean")
    yield Parameter(f"{name}.norm.running_var", channels, "norm_var")
