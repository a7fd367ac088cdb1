"""What is known of a published network: how it is built, and what its source states of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from searchspace.space import Space


@dataclass(frozen=True, slots=True)
class PublishedFigures:
    """What the source of a network states of it; see `PublishedNetwork`.

    `params` and `macs` are None where it states none of this network.
    """

    params: str | None
    macs: str | None
    top1_pct: float
    source: str
    resolution: int = 224
    remark: str = ""


@dataclass(frozen=True, slots=True)
class PublishedNetwork:
    """A network, and its figures with the digits that its source gives.

    `build` takes a resolution in pixels and a number of classes; what it gives has one candidate a layer,
    so that its only architecture is the network. `params` and `macs` are the source's parameters and
    multiply-accumulates, such as "5.4M" and "0.2G", `top1_pct` is its ImageNet top-1 in percent, all of
    them at `resolution` pixels and 1000 classes. `source` is the paper, and the repository where figures
    are from there. `remark` says where the source counts otherwise than this project does; empty where
    ours rounds to its figures.
    """

    name: str
    build: Callable[[int, int], Space]
    params: str
    macs: str
    top1_pct: float
    source: str
    resolution: int = 224
    remark: str = ""

    @property
    def figures(self) -> PublishedFigures:
        """What its source states."""
        return PublishedFigures(
            self.params, self.macs, self.top1_pct, self.source, self.resolution, self.remark
        )
