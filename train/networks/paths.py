"""A supernet whose candidates share no weights: one path a candidate and layer goes through it.

Its `state_dict` is a supernet in the layout of `searchspace.weights`: networks inherit from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from searchspace import Space
from train.networks.modules import Block


class Paths(Protocol):
    """Which paths train, each one label a layer. They are drawn from torch's own generator, as dropout is."""

    def next(self) -> Sequence[Sequence[str]]:
        """Those of the next step."""

    def restart(self) -> None:
        """An epoch begins: what an earlier one left over is forgotten, so that it can be repeated alone."""


class PathSupernet(nn.Module):
    """Stem, head and every candidate of every layer.

    Images (N, 3, resolution, resolution) -> in training the logits of each of the step's paths, (paths, N,
    classes); in evaluation those of the network of the largest candidates, (N, classes).
    """

    def __init__(self, space: Space, paths: Paths) -> None:
        super().__init__()
        self.space, self._paths = space, paths
        self.stem = Block(space.stem)
        self.layers = nn.ModuleDict(
            {
                layer.name: nn.ModuleDict({each.label: Block(each.ops) for each in layer.candidates})
                for layer in space.layers
            }
        )
        self.head = Block(space.head)

    def train(self, mode: bool = True) -> PathSupernet:
        """Into training mode, as an epoch begins, or out of it."""
        self._paths.restart()
        super().train(mode)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images: see the class."""
        x = self.stem(images)  # the same for all paths: its gradient is their sum
        if not self.training:
            return self._logits(x, [layer.largest.label for layer in self.space.layers])
        return torch.stack([self._logits(x, path) for path in self._paths.next()])

    def _logits(self, x: Tensor, path: Sequence[str]) -> Tensor:
        for layer, label in zip(self.space.layers, path, strict=True):
            x = self.layers[layer.name][label](x)  # type: ignore[index]
        logits: Tensor = self.head(x)
        return logits
