"""FBNet-A, -B and -C (arXiv 1812.03443), as github.com/facebookresearch/mobile-vision has them.

Figures are those of the weights published there, mobile_cv/model_zoo/models/model_info/fbnet_v2.
"""

from __future__ import annotations

from functools import partial

from searchspace.space import Space
from searchspace.zoo.chain import Style, bottlenecks, chain, first_conv, pooled_head
from searchspace.zoo.published import PublishedNetwork

_STAGES = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
_STEM = 16


def _network(name: str, words: str, last: int, resolution: int, classes: int) -> Space:
    blocks = bottlenecks(words, _STEM, _STAGES, Style("relu"))
    head = pooled_head(_STAGES[-1][0], last, classes, "relu")
    return chain(name, first_conv(_STEM, "relu"), blocks, head, resolution, classes)


def _row(name: str, words: str, last: int, params: str, macs: str, top1_pct: float) -> PublishedNetwork:
    return PublishedNetwork(
        name,
        partial(_network, name, words, last),
        params,
        macs,
        top1_pct,
        "arXiv 1812.03443, and github.com/facebookresearch/mobile-vision, model_info_fbnet.json",
        remark="counts no batch norm and no bias among the parameters, and the pool's inputs among the MACs",
    )


NETWORKS = (
    _row(
        "FBNet-A",
        "id k3e3 k3e1 id id k5e6 k3e3 k5e1 k3e3 k5e6 k5e3 k5e1g2 k5e6 k3e6 k5e1g2 k5e3 k3e1g2"
        " k5e6 k5e6 k5e3 k5e6 k5e6",
        1504,
        "4.27029M",
        "244.52636M",
        73.30,
    ),
    _row(
        "FBNet-B",
        "k3e1 k3e6 k5e1 k3e1 k3e1 k5e6 k5e3 k3e6 k5e6 k5e6 k5e6 id k5e3 k5e6 k3e1 k5e1 k5e3"
        " k5e6 k5e1 k5e6 k5e6 k3e6",
        1984,
        "4.76667M",
        "291.10164M",
        74.54,
    ),
    _row(
        "FBNet-C",
        "k3e1 k3e6 id k3e1 k3e1 k5e6 k5e3 k5e6 k3e6 k5e6 k5e3 k5e6 k5e6 k5e6 k5e6 k5e6 k5e3"
        " k5e6 k5e6 k5e6 k5e6 k3e6",
        1984,
        "5.52542M",
        "378.23344M",
        75.25,
    ),
)
