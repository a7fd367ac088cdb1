"""A supernet with shared weights as it trains, and subnets of it as they are evaluated meanwhile."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from searchspace import Architecture
from train.compute import Compute, few_threads
from train.networks import ElasticNetwork, Network
from train.stages.opening import Opening, draw
from train.stages.statistics import Statistics


class Drawn(nn.Module):
    """A supernet of which each pass goes through another subnet of what is open.

    They are drawn from torch's own generator, as dropout is, so that all processes draw the same.
    """

    def __init__(self, network: ElasticNetwork, opening: Opening) -> None:
        super().__init__()
        self.network, self.opening = network, opening

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, classes)."""
        self.network.activate(draw(self.network.space, self.opening, _below))
        logits: Tensor = self.network(images)
        return logits


def _below(count: int) -> int:
    return int(torch.randint(count, ()))


def recalibrated(
    network: ElasticNetwork, wanted: list[Architecture], statistics: Statistics, compute: Compute
) -> list[Network]:
    """Subnets with batch norm statistics of their own."""
    subnets = [compute.place(network.subnet(architecture)) for architecture in wanted]
    with few_threads(network.space.resolution):
        statistics.measure(subnets, compute)
    return subnets
