"""MobileNetV2 (arXiv 1801.04381), of inverted bottlenecks with linear ends."""

from __future__ import annotations

from searchspace.space import Space
from searchspace.zoo.chain import Style, bottlenecks, chain, first_conv, pooled_head
from searchspace.zoo.published import PublishedNetwork

_STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
_STEM, _LAST = 32, 1280


def _mobilenetv2(resolution: int, classes: int) -> Space:
    blocks = bottlenecks("k3e1" + " k3e6" * 16, _STEM, _STAGES, Style("relu6"))
    head = pooled_head(_STAGES[-1][0], _LAST, classes, "relu6", dropout=0.2)
    return chain("MobileNetV2", first_conv(_STEM, "relu6"), blocks, head, resolution, classes)


NETWORKS = (
    PublishedNetwork(
        "MobileNetV2",
        _mobilenetv2,
        "3.4M",
        "300M",
        72.0,
        "arXiv 1801.04381, table 4",
        remark="its code, slim/nets/mobilenet of github.com/tensorflow/models, states 3.47M, which is without"
        " batch norm; 300.8M are cut to 300M",
    ),
)
