"""Batch norm and dropout of a batch that is shared by several processes, as one process would compute them.

Both know that every process has the same number of images (`distributed.divided`). Alone they are
torch's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from train.compute import distributed


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor] | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """Batch norm of (N, C, H, W) over the images of all processes; `running` mean and variance follow.

    Mean and biased variance are put together from those of the processes (Chan et al. 1979, equation
    2.1); as in torch, the running variance is the unbiased one.
    """
    var, mean = torch.var_mean(x.detach().float(), dim=(0, 2, 3), correction=0)
    parts = distributed.gathered(torch.stack([mean, var]))
    means, variances = parts[:, 0], parts[:, 1]
    mean = means.mean(0)
    var = variances.mean(0) + (means - mean).square().mean(0)
    count = x.numel() // x.shape[1] * distributed.size()
    if running:
        running[0].lerp_(mean, momentum)
        running[1].lerp_(var * count / max(count - 1, 1), momentum)
    normed: Tensor = _Normalise.apply(x, weight, bias, mean, var, eps)
    return normed


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias, where mean and variance are those of all processes' x.

    The gradient of x is the one for constant statistics, less what flows through them: its mean and its
    covariance with x, over all processes (arXiv 1502.03167, section 3).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps = eps
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0], x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        count = x.numel() // x.shape[1] * distributed.size()
        sums = distributed.total(torch.stack([grad_weight, grad_bias])) / count
        # weight / std * (normalised x * sums[0] + sums[1]), as batch norm with another weight and bias
        factor = weight * torch.rsqrt(var + ctx.eps)
        flows = F.batch_norm(x, mean, var, factor * sums[0], factor * sums[1], training=False, eps=ctx.eps)
        return grad_x.sub_(flows), grad_weight, grad_bias, None, None, None


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Dropout of this process's share (N, C) of a batch: the rows that one process would have dropped."""
    count = distributed.size()
    if count == 1 or not training:
        return F.dropout(x, rate, training)
    full = torch.ones(len(x) * count, *x.shape[1:], dtype=x.dtype, device=x.device)
    return x * distributed.share().of(F.dropout(full, rate))
