"""MobileNetV3-Large and -Small (arXiv 1905.02244, tables 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable

from searchspace.blocks import rounded_to_8
from searchspace.ops import Conv, Dropout, GlobalPool, Linear
from searchspace.space import Space
from searchspace.zoo.chain import Stages, Style, bottlenecks, chain, first_conv
from searchspace.zoo.published import PublishedNetwork

_STEM = 16
_STYLE = Style("relu", lambda inputs, width: rounded_to_8(width // 4), "hard_sigmoid")


def _network(name: str, words: str, stages: Stages, last: int, features: int) -> Callable[[int, int], Space]:
    """`last` channels before the pool, `features` behind it."""

    def build(resolution: int, classes: int) -> Space:
        head = (
            Conv("conv", stages[-1][0], last, activation="hswish"),
            GlobalPool(),
            Linear("features", last, features, activation="hswish"),
            Dropout(0.2),
            Linear("classifier", features, classes),
        )
        blocks = bottlenecks(words, _STEM, stages, _STYLE)
        return chain(name, first_conv(_STEM, "hswish"), blocks, head, resolution, classes)

    return build


_LARGE = _network(
    "MobileNetV3-Large",
    "k3e1 k3e4 k3e3 k5e3se k5e3se k5e3se"
    " k3e6hs k3w200hs k3w184hs k3w184hs k3e6sehs k3e6sehs k5e6sehs k5e6sehs k5e6sehs",
    ((16, 1, 1), (24, 2, 2), (40, 3, 2), (80, 4, 2), (112, 2, 1), (160, 3, 2)),
    960,
    1280,
)
_SMALL = _network(
    "MobileNetV3-Small",
    "k3e1se k3w72 k3w88 k5e4sehs k5e6sehs k5e6sehs k5e3sehs k5e3sehs k5e6sehs k5e6sehs k5e6sehs",
    ((16, 1, 2), (24, 2, 2), (40, 3, 2), (48, 2, 1), (96, 3, 2)),
    576,
    1024,
)
_PAPER = "arXiv 1905.02244 version 5, table 3"

NETWORKS = (
    PublishedNetwork(
        "MobileNetV3-Large",
        _LARGE,
        "5.4M",
        "219M",
        75.2,
        _PAPER,
        remark="its code, slim/nets/mobilenet of github.com/tensorflow/models, states 217M; 5.48M are cut to"
        " 5.4M",
    ),
    PublishedNetwork("MobileNetV3-Small", _SMALL, "2.5M", "56M", 67.4, _PAPER, remark="56.5M are cut to 56M"),
)
