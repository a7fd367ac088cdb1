"""MobileNetV4-Conv-S and -M (arXiv 2404.10518), of universal inverted bottlenecks.

As github.com/tensorflow/models has them, official/vision/modeling/backbones/mobilenet.py. A block
`a3k5e4` has a depthwise convolution of kernel 3 before the expansion to 4 times the channels and one of
kernel 5 behind it; 0 is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from searchspace.ops import Conv, GlobalPool, Linear, Op, Residual
from searchspace.space import Candidate, Space
from searchspace.zoo.chain import Stages, chain, first_conv, positions
from searchspace.zoo.published import PublishedNetwork

_STEM, _LAST, _FEATURES = 32, 960, 1280
_WORD = re.compile(r"a(\d)k(\d)e(\d)")

_SMALL = "a5k5e3 a0k3e2 a0k3e2 a0k3e2 a0k3e2 a3k0e4 a3k3e6 a5k5e4 a0k5e4 a0k5e3 a0k3e4 a0k3e4"
_SMALL_STAGES = ((96, 6, 2), (128, 6, 2))
_MEDIUM = (
    "a3k5e4 a3k3e2"
    " a3k5e6 a3k3e4 a3k3e4 a3k5e4 a3k3e4 a3k0e4 a0k0e2 a3k0e4"
    " a5k5e6 a5k5e4 a3k5e4 a3k5e4 a0k0e4 a3k0e4 a3k5e2 a5k5e4 a0k0e4 a0k0e4 a5k0e2"
)
_MEDIUM_STAGES = ((80, 2, 2), (160, 8, 2), (256, 11, 2))


def _small(resolution: int, classes: int) -> Space:
    convs = [_conv(_STEM, 32, 3, 2), _conv(32, 32, 1, 1), _conv(32, 96, 3, 2), _conv(96, 64, 1, 1)]
    blocks = [*convs, *_universal(_SMALL, 64, _SMALL_STAGES)]
    return _chain("MobileNetV4-Conv-S", blocks, _SMALL_STAGES, resolution, classes)


def _medium(resolution: int, classes: int) -> Space:
    blocks = [_fused(_STEM, 48), *_universal(_MEDIUM, 48, _MEDIUM_STAGES)]
    return _chain("MobileNetV4-Conv-M", blocks, _MEDIUM_STAGES, resolution, classes)


def _chain(name: str, blocks: list[Candidate], stages: Stages, resolution: int, classes: int) -> Space:
    """The features behind the pool are a convolution with batch norm too."""
    head = (
        Conv("conv", stages[-1][0], _LAST, activation="relu"),
        GlobalPool(flatten=False),
        Conv("features", _LAST, _FEATURES, activation="relu"),
        GlobalPool(),
        Linear("classifier", _FEATURES, classes),
    )
    return chain(name, first_conv(_STEM, "relu"), blocks, head, resolution, classes)


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> Candidate:
    return Candidate(
        f"conv{kernel}x{kernel}", (Conv("conv", inputs, outputs, kernel, stride, activation="relu"),)
    )


def _fused(inputs: int, outputs: int) -> Candidate:
    """The fused inverted bottleneck: 3x3 at stride 2 to 4 times the channels, 1x1."""
    width = 4 * inputs
    expand = Conv("expand", inputs, width, kernel=3, stride=2, activation="relu")
    return Candidate("fused_k3e4", (expand, Conv("project", width, outputs)))


def _universal(words: str, inputs: int, stages: Stages) -> Iterator[Candidate]:
    for word, (wide, outputs, stride) in zip(words.split(), positions(inputs, stages), strict=True):
        found = _WORD.fullmatch(word)
        assert found is not None, word
        start, kernel, expansion = map(int, found.groups())
        ops = tuple(_universal_ops(wide, outputs, stride, start, kernel, expansion))
        keeps_shape = stride == 1 and wide == outputs
        yield Candidate(word, (Residual(ops),) if keeps_shape else ops)


def _universal_ops(
    inputs: int, outputs: int, stride: int, start: int, kernel: int, expansion: int
) -> Iterator[Op]:
    """Section 3 of the paper; the stride is in the second depthwise convolution where there is one."""
    width = inputs * expansion
    if start:
        yield Conv("start", inputs, inputs, start, 1 if kernel else stride, groups=inputs)
    yield Conv("expand", inputs, width, activation="relu")
    if kernel:
        yield Conv("depthwise", width, width, kernel, stride, groups=width, activation="relu")
    yield Conv("project", width, outputs)


_PAPER = "arXiv 2404.10518"

NETWORKS = (
    PublishedNetwork("MobileNetV4-Conv-S", _small, "3.8M", "0.2G", 73.8, _PAPER),
    PublishedNetwork(
        "MobileNetV4-Conv-M",
        _medium,
        "9.2M",
        "1.0G",
        79.9,
        _PAPER,
        resolution=256,
        remark="that of its code, github.com/tensorflow/models, has 9.72M, as timm's has, and 1.08G",
    ),
)
