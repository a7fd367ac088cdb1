"""FairNAS-A, -B and -C (arXiv 1907.01845), as github.com/xiaomi-automl/FairNAS has them."""

from __future__ import annotations

from functools import partial

from searchspace.space import Space
from searchspace.zoo.chain import Style, bottlenecks, chain, first_conv, pooled_head
from searchspace.zoo.published import PublishedNetwork

STAGES = ((16, 1, 1), (32, 2, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
STEM, LAST = 32, 1280
_PAPER = "arXiv 1907.01845, abstract of version 1 and table 2"


def _network(name: str, words: str, resolution: int, classes: int) -> Space:
    blocks = bottlenecks(f"k3e1 {words}", STEM, STAGES, Style("relu6"))
    head = pooled_head(STAGES[-1][0], LAST, classes, "relu6", dropout=0.2)
    return chain(name, first_conv(STEM, "relu6"), blocks, head, resolution, classes)


def _row(
    name: str, words: str, params: str, macs: str, top1_pct: float, remark: str = ""
) -> PublishedNetwork:
    return PublishedNetwork(
        name, partial(_network, name, words), params, macs, top1_pct, _PAPER, remark=remark
    )


NETWORKS = (
    _row(
        "FairNAS-A",
        "k7e3 k3e3 k7e3 k3e6 k7e6 k3e3 k3e3 k7e6 k7e6 k5e3 k3e6 k5e3 k5e3 k3e6 k3e6 k7e6 k3e6 k7e6 k5e6",
        "4.6M",
        "388M",
        75.34,
        "4.65M with batch norm, 4.61M without",
    ),
    _row(
        "FairNAS-B",
        "k5e3 k3e3 k5e3 k3e3 k3e6 k5e3 k7e3 k3e3 k3e6 k5e3 k3e3 k3e6 k7e3 k3e3 k7e6 k5e6 k7e6 k3e6 k5e6",
        "4.5M",
        "345M",
        75.10,
    ),
    _row(
        "FairNAS-C",
        "k5e3 k3e3 k7e3 k3e3 k3e3 k3e3 k3e3 k3e3 k3e3 k3e6 k3e3 k3e3 k3e3 k3e3 k7e6 k7e6 k3e6 k3e6 k5e6",
        "4.4M",
        "321M",
        74.69,
    ),
)
