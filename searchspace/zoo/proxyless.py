"""ProxylessNAS for the GPU, the CPU and mobile phones (arXiv 1812.00332).

As the configurations that github.com/mit-han-lab/proxylessnas names have them; its logs state parameters,
MACs and top-1 of the weights.
"""

from __future__ import annotations

from functools import partial

from searchspace.space import Space
from searchspace.zoo.chain import Style, bottlenecks, chain, first_conv, pooled_head
from searchspace.zoo.published import PublishedNetwork

_STYLE = Style("relu6")


def _network(
    name: str, words: str, widths: tuple[int, ...], ends: tuple[int, int], resolution: int, classes: int
) -> Space:
    """`widths` are the channels of the first block and of six stages, `ends` those of the first and last
    convolution."""
    first, *others = widths
    depths, strides = (4, 4, 4, 4, 4, 1), (2, 2, 2, 1, 2, 1)
    stages = ((first, 1, 1), *zip(others, depths, strides, strict=True))
    stem, last = ends
    blocks = bottlenecks(words, stem, stages, _STYLE)
    head = pooled_head(widths[-1], last, classes, "relu6")
    return chain(name, first_conv(stem, "relu6"), blocks, head, resolution, classes)


def _row(
    target: str,
    words: str,
    widths: tuple[int, ...],
    ends: tuple[int, int],
    figures: tuple[str, str, float],
) -> PublishedNetwork:
    name = f"ProxylessNAS-{target}"
    source = (
        f"arXiv 1812.00332, and github.com/mit-han-lab/proxylessnas, logs/imagenet_{target.lower()}_log.txt"
    )
    return PublishedNetwork(name, partial(_network, name, words, widths, ends), *figures, source)


NETWORKS = (
    _row(
        "GPU",
        "k3e1 k5e3 id id id k7e3 id id k3e3 k7e6 id id k5e3 k5e6 id k3e3 k5e3 k7e6 k7e6 k7e6 k5e6 k7e6",
        (24, 32, 56, 112, 128, 256, 432),
        (40, 1728),
        ("7.12M", "465.3M", 75.08),
    ),
    _row(
        "CPU",
        "k3e1 k3e6 k3e3 k3e3 k3e3 k3e6 k3e3 k3e3 k5e3 k3e6 id id k3e3 k5e6 k3e3 k3e3 k3e3"
        " k5e6 k5e3 k5e3 k3e3 k5e6",
        (24, 32, 48, 88, 104, 216, 360),
        (40, 1432),
        ("4.36M", "439.2M", 75.29),
    ),
    _row(
        "Mobile",
        "k3e1 k5e3 k3e3 id id k7e3 k3e3 k5e3 k5e3 k7e6 k5e3 k5e3 k5e3 k5e6 k5e3 k5e3 k5e3"
        " k7e6 k7e6 k7e3 k7e3 k7e6",
        (16, 32, 40, 80, 96, 192, 320),
        (32, 1280),
        ("4.08M", "320.4M", 74.59),
    ),
)
