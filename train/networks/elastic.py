"""A supernet whose candidates share their weights, in torch (Once-for-all, arXiv 1908.09791, section 3.3).

    network = ElasticNetwork(space)
    network.activate(architecture)
    logits = network(images)        # of that subnet; its gradients go to the shared weights

The weights are those of the largest network. A narrower subnet uses the first channels of every tensor, of
batch norm and squeeze-and-excite too; a smaller kernel is the centre of the next larger one times a matrix
that all channels share, one a layer and size, the identity at first; a layer that is absent is left out.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ponas_deploy.files.weights import Arrays
from searchspace import Architecture, Layer, Space, SpaceError
from searchspace.architecture import layer_prefix
from searchspace.elastic import (
    largest_network,
    smaller_sizes,
    transformed,
    with_matrices,
    with_smaller_kernels,
)
from searchspace.ops import BATCH_NORM_EPS, Conv, Linear, SqueezeExcite, walk
from searchspace.weights import Weights, network_parameters
from train.compute import distributed
from train.networks import synchronised
from train.networks.convolution import Convolution, convolved
from train.networks.crop import refuse_no_parts
from train.networks.modules import (
    BatchNorm,
    Block,
    Network,
    SqueezeExcitation,
    Weighted,
    activate,
    gated,
)
from train.networks.weights import load_arrays, to_arrays


class ElasticNetwork(nn.Module):
    """A supernet of `space`: images (N, 3, resolution, resolution) -> logits (N, classes) of one subnet.

    `architecture` is the subnet that runs, the largest at first. In training batch norm takes the statistics
    of the batch; the running ones mix those of all subnets, so a subnet that is used is measured anew.
    SpaceError for a space whose candidates are no parts of the largest of their layer.
    """

    def __init__(self, space: Space) -> None:
        refuse_inelastic(space)
        super().__init__()
        self.space = space
        self.stem = Block(space.stem)
        self.layers = nn.ModuleDict({layer.name: _elastic_block(layer) for layer in space.layers})
        self.head = Block(space.head)
        self.architecture = largest_network(space)

    def activate(self, architecture: Architecture) -> None:
        """Let this subnet run from now on."""
        self.architecture = architecture
        for layer, label in zip(self.space.layers, architecture.choices, strict=True):
            block, ops = self.layers[layer.name], layer.candidate(label).ops
            block.ops = ops  # type: ignore[assignment]
            for op in walk(ops):
                if isinstance(op, (Conv, SqueezeExcite)):
                    block.get_submodule(op.name).op = op  # type: ignore[assignment]

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images."""
        x = self.stem(images)
        for block in self.layers.values():
            x = block(x)
        logits: Tensor = self.head(x)
        return logits

    def load(self, shared: Weights) -> None:
        """Take over the tensors of an elastic supernet (`WeightsFile.shared`, `searchspace.elastic`).

        Matrices that it lacks are fitted to its kernels. WeightsError names a tensor that is missing or of
        another shape.
        """
        complete = with_matrices(shared, self.space)
        wanted = self.state_dict()
        load_arrays(self, {name: array for name, array in complete.items() if name in wanted})

    def arrays(self) -> Arrays:
        """The tensors as the file of an elastic supernet holds them: the smaller kernels are there too."""
        return with_smaller_kernels(to_arrays(self.state_dict()), self.space)

    def subnet(self, architecture: Architecture) -> Network:
        """A network of its own with copies of the inherited weights and of the running statistics."""
        with torch.device("meta"):  # no memory, no random numbers
            network = Network(architecture)
        shared, found = self.state_dict(), {}
        for parameter in network_parameters(architecture):
            name, shape = parameter.name, parameter.shape
            tensor = shared[name]
            if len(shape) == 4 and shape[-1] < tensor.shape[-1]:
                convolution = self.get_submodule(name.removesuffix(".weight"))
                tensor = convolution.at(shape)  # type: ignore[operator]
            found[name] = tensor.detach()[tuple(map(slice, shape))].clone()
        network.load_state_dict(found, assign=True)
        return network


def refuse_inelastic(space: Space) -> None:
    """SpaceError for a space whose candidates cannot share the weights of the largest of their layer."""
    refuse_no_parts(space)
    for layer in space.layers:
        for op in walk(layer.largest.ops):
            if isinstance(op, Linear):
                raise SpaceError(
                    f"layer {layer.name} of space '{space.name}': '{op.name}' is a linear layer, and only"
                    " convolutions and squeeze-and-excite share their weights."
                )


def _elastic_block(layer: Layer) -> Block:
    sizes = smaller_sizes(layer)
    return Block(layer.largest.ops, partial(_elastic_module, layer_prefix(layer), sizes))


def _elastic_module(prefix: str, sizes: dict[str, tuple[int, ...]], op: Weighted) -> nn.Module:
    if isinstance(op, Conv):
        return ElasticConvNorm(op, sizes.get(f"{prefix}.{op.name}.conv.weight", ()))
    assert isinstance(op, SqueezeExcite)  # `refuse_inelastic`
    return ElasticSqueezeExcitation(op)


class ElasticConvNorm(nn.Module):
    """Convolution, batch norm and activation of the operation `op`, which is a part of the largest one."""

    def __init__(self, op: Conv, smaller: tuple[int, ...]) -> None:
        super().__init__()
        self.op = op
        self.conv = ElasticConvolution(op, smaller)
        self.norm = ElasticBatchNorm(op.out_channels, BATCH_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H / stride, W / stride)."""
        op = self.op
        shape = (op.out_channels, op.in_channels // op.groups, op.kernel, op.kernel)
        x = self.norm(convolved(x, self.conv.at(shape), None, op.stride, op.groups))
        return x if op.activation is None else activate(op.activation, x)


class ElasticConvolution(Convolution):
    """A convolution at its largest, and a matrix for each of its `smaller` kernel sizes, from the largest."""

    def __init__(self, op: Conv, smaller: tuple[int, ...]) -> None:
        super().__init__(
            op.in_channels,
            op.out_channels,
            op.kernel,
            op.stride,
            op.kernel // 2,
            groups=op.groups,
            bias=False,
        )
        self.smaller = smaller
        self.matrix = nn.ParameterDict({str(size): torch.eye(size * size) for size in smaller})

    def at(self, shape: tuple[int, ...]) -> Tensor:
        """The weight (C, D, k, k) of a part: its first channels, its kernel size."""
        weight: Tensor = self.weight[: shape[0], : shape[1]]
        for size in self.smaller:
            if size >= shape[-1]:
                weight = transformed(weight, self.matrix[str(size)])
        return weight


class ElasticBatchNorm(BatchNorm):
    """Batch norm of the first channels."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) with at most as many channels as it has -> the same."""
        first = slice(x.shape[1])
        weight, bias, momentum = self.weight[first], self.bias[first], self.momentum or 0.0
        kept = self.statistics()
        running = (kept[0][first], kept[1][first]) if kept else None  # views: they are changed in place
        if self.training and torch.is_grad_enabled() and distributed.size() > 1:
            return synchronised.batch_norm(x, weight, bias, running, momentum, self.eps)
        mean, var = running or (None, None)
        return F.batch_norm(x, mean, var, weight, bias, self.training or running is None, momentum, self.eps)


class ElasticSqueezeExcitation(SqueezeExcitation):
    """Squeeze-and-excite of the operation `op`: first channels, first hidden ones."""

    def __init__(self, op: SqueezeExcite) -> None:
        super().__init__(op)
        self.op = op

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        wide, narrow = slice(self.op.channels), slice(self.op.hidden)
        pooled = x.mean((2, 3), keepdim=True)
        hidden = F.relu(convolved(pooled, self.reduce.weight[narrow, wide], _first(self.reduce, narrow)))
        return x * gated(
            self.kind, convolved(hidden, self.expand.weight[wide, narrow], _first(self.expand, wide))
        )


def _first(module: Convolution, channels: slice) -> Tensor | None:
    return None if module.bias is None else module.bias[channels]
