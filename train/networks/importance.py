"""The most important channels first, before widths become elastic (arXiv 1908.09791, section 3.3).

A narrower candidate has the first channels of the widest. The importance of a channel is the L1 norm of the
weights that the last convolution of the layer reads it with; of a hidden channel of squeeze-and-excite it is
the norm of those that expand it. The order of channels changes no logits of networks that have them all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from searchspace.ops import Conv, Op, Residual, SqueezeExcite
from train.networks.elastic import ElasticNetwork
from train.networks.modules import Block


@torch.no_grad()
def sort_channels(network: ElasticNetwork) -> None:
    """Put the inner channels of every layer in order of their importance, in place."""
    for layer in network.space.layers:
        _sort(network.layers[layer.name], layer.largest.ops)  # type: ignore[arg-type]


def _sort(block: Block, ops: tuple[Op, ...]) -> None:
    """The channels between the last convolution and the dense one before it; without such a one none."""
    body = ops[0].body if len(ops) == 1 and isinstance(ops[0], Residual) else ops
    if not body or not all(isinstance(op, (Conv, SqueezeExcite)) for op in body):
        return
    *inner, last = body
    dense = [place for place, op in enumerate(inner) if isinstance(op, Conv) and op.groups == 1]
    if not dense or not isinstance(last, Conv) or last.groups != 1:
        return
    order = _order(_weight(block, last))
    _reorder(block, f"{last.name}.conv", ("weight",), order, 1)
    for op in inner[dense[-1] :]:
        if isinstance(op, Conv):
            _reorder(block, f"{op.name}.conv", ("weight",), order)
            _reorder(block, f"{op.name}.norm", ("weight", "bias", "running_mean", "running_var"), order)
        elif isinstance(op, SqueezeExcite):
            hidden = _order(block.get_parameter(f"{op.name}.expand.weight"))
            _reorder(block, f"{op.name}.reduce", ("weight",), order, 1)
            _reorder(block, f"{op.name}.reduce", ("weight", "bias"), hidden)
            _reorder(block, f"{op.name}.expand", ("weight",), hidden, 1)
            _reorder(block, f"{op.name}.expand", ("weight", "bias"), order)


def _weight(block: Block, op: Conv) -> Tensor:
    return block.get_parameter(f"{op.name}.conv.weight")


def _order(weight: Tensor) -> Tensor:
    """The input channels of a weight (C, D, k, k) from the largest L1 norm to the smallest."""
    return weight.abs().sum((0, 2, 3)).argsort(descending=True, stable=True)


def _reorder(block: Block, module: str, names: tuple[str, ...], order: Tensor, dimension: int = 0) -> None:
    for name in names:
        tensor = getattr(block.get_submodule(module), name)
        tensor.copy_(tensor.index_select(dimension, order))
