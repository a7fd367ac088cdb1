"""`nn.Conv2d` with the same values, made fast on a CPU where oneDNN is slow: small maps and large kernels.

The factors in this file: float32, channels-last, one core of an AMD EPYC (Zen 5), torch 2.15, the shapes of
PONAS at 32 px.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_COLUMNS = 16  # of fewer images torch computes a 1x1 convolution in another way, at half the speed
_WIDTH = 3  # the widest depthwise kernel that oneDNN has a fast weight gradient for
_IN_CACHE = 2**19  # so many values stay in the cache of a core


class Convolution(nn.Conv2d):
    """A convolution with an odd square kernel, padded by half of it; dense, depthwise or 1x1.

    Taps that only ever see padding are skipped. A 7x7 kernel on the 2x2 and 1x1 maps of a 32 px network is a
    3x3 and a 1x1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The same values as `nn.Conv2d`."""
        return convolved(x, self.weight, self.bias, self.stride[0], self.groups)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, groups: int = 1) -> Tensor:
    """The convolution of (N, C, H, W) with a weight (C', C / groups, k, k), padded by k // 2."""
    kernel, half = weight.shape[-1], weight.shape[-1] // 2
    radius = useful_radius(kernel, max(x.shape[2:]))
    near = slice(half - radius, half + radius + 1)
    weight = weight if radius == half else weight[:, :, near, near]
    if x.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
        if radius and groups == x.shape[1] == len(weight):
            out: Tensor = _Depthwise.apply(x, weight, bias, stride, radius)
            return out
        if not half and groups == stride == 1 and _fits_columns(x):
            return _in_columns(x, weight, bias)
    return F.conv2d(x, weight, bias, stride, radius, groups=groups)


def useful_radius(kernel: int, side: int) -> int:
    """How far from its centre a kernel has taps that see more than padding, on maps of `side`."""
    return min(kernel // 2, side - 1)


def _fits_columns(x: Tensor) -> bool:
    pixels = x.shape[2] * x.shape[3]
    return pixels <= _COLUMNS and x.shape[0] * pixels % _COLUMNS == 0


def _in_columns(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution of all pixels of a batch, laid out as 16 images one pixel wide.

    On 1x1 maps 3 to 4 times as fast, on 2x2 1.2 times. Views of channels-last tensors; nothing is copied.
    """
    count, channels, height, width = x.shape
    columns = x.permute(0, 2, 3, 1).reshape(_COLUMNS, -1, 1, channels).permute(0, 3, 1, 2)
    out = F.conv2d(columns, weight, bias).permute(0, 2, 3, 1)
    return out.reshape(count, height, width, -1).permute(0, 3, 1, 2)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution whose gradients go a faster way."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        grad = gradients[0].contiguous(memory_format=torch.channels_last)
        return (
            _input_gradient(x, weight, grad, ctx.stride, ctx.padding) if of_x else None,
            _weight_gradient(x, weight, grad, ctx.stride, ctx.padding) if of_weight else None,
            grad.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )


def _input_gradient(x: Tensor, weight: Tensor, grad: Tensor, stride: int, padding: int) -> Tensor:
    """At stride 1 a convolution with the kernel turned around: on 8x8 maps 2.4 times as fast for 7x7."""
    if stride == 1:
        return F.conv2d(grad, weight.flip(2, 3), None, 1, padding, groups=len(weight))
    return _gradient(x, weight, grad, stride, padding, 0)


def _weight_gradient(x: Tensor, weight: Tensor, grad: Tensor, stride: int, padding: int) -> Tensor:
    """Up to three columns of the kernel at a time, on padded images, as many as the cache holds.

    For a kernel wider than that, or wider than the map, oneDNN computes 16 times what is wanted: this is
    2 to 5 times as fast for 7x7 and 5x5, and 7 times for 3x3 on 2x2 maps.
    """
    if weight.shape[3] <= _WIDTH <= x.shape[3]:
        return _gradient(x, weight, grad, stride, padding, 1)
    count = max(_IN_CACHE // x[0].numel(), 1)
    parts = [
        _by_columns(F.pad(images, (padding,) * 4), weight, part, stride)
        for images, part in zip(torch.split(x, count), torch.split(grad, count), strict=True)
    ]
    return torch.stack(parts).sum(0)


def _by_columns(x: Tensor, weight: Tensor, grad: Tensor, stride: int) -> Tensor:
    columns, start = [], 0
    for part in weight.tensor_split(-(-weight.shape[3] // _WIDTH), 3):
        seen = x[..., start : start + (grad.shape[3] - 1) * stride + part.shape[3]]
        seen = seen.contiguous(memory_format=torch.channels_last)
        columns.append(_gradient(seen, part, grad, stride, 0, 1))
        start += part.shape[3]
    return torch.cat(columns, 3)


def _gradient(x: Tensor, weight: Tensor, grad: Tensor, stride: int, padding: int, of: int) -> Tensor:
    """OneDNN's own gradient of a depthwise convolution: of its input (0) or its weight (1)."""
    geometry = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], len(weight)
    wanted = [of == 0, of == 1, False]
    gradient: Tensor = torch.ops.aten.convolution_backward(grad, x, weight, None, *geometry, wanted)[of]
    return gradient
