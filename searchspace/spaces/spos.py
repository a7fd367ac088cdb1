"""The search spaces of SPOS, single path one-shot search (arXiv 1904.00420), as MMRazor and its authors have
them.

Names of candidates are MMRazor's; those of layers are the keys that its 0.x files have. Sources: MMRazor
(github.com/open-mmlab/mmrazor) and the authors' code (github.com/megvii-model/SinglePathOneShot).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise, product
from typing import TypeAlias

from searchspace.blocks import mbconv
from searchspace.ops import Branches, Conv, Dropout, GlobalPool, Linear, Op, Shuffle
from searchspace.space import Candidate, Layer, Space
from searchspace.zoo.published import PublishedFigures

IDENTITY = "identity"

_SHUFFLE_STAGES = ((64, 4), (160, 4), (320, 8), (640, 4))
"""Channels and blocks; the first block of each has stride 2."""
_SHUFFLE_STEM, _SHUFFLE_LAST = 16, 1024
_KERNELS = (3, 5, 7)
_XCEPTION = "shuffle_xception"

_PROXYLESS_STAGES = ((32, 4, 2), (56, 4, 2), (112, 4, 2), (128, 4, 1), (256, 4, 2), (432, 1, 1))
"""Channels, blocks, and the stride of the first of them."""
_PROXYLESS_STEM, _PROXYLESS_FIRST, _PROXYLESS_LAST = 40, 24, 1728
_EXPANSIONS = (3, 6)

Block: TypeAlias = Callable[[int, int, int, int], tuple[Op, ...]]
"""A block of input channels, output channels, stride, and kernel size; 0 stands for xception."""


def _shuffle_choices(digits: str) -> str:
    """Labels from one character a layer: a kernel size, or x."""
    return ",".join(_XCEPTION if one == "x" else f"shuffle_{one}x{one}" for one in digits)


def _proxyless_choices(words: str) -> str:
    return ",".join(IDENTITY if word == "id" else f"mb_{word}" for word in words.split())


_PAPER = ("SPOS-PAPER", _shuffle_choices("75357373737x3333x7xx"))
"""The network that the paper found."""
_MMRAZOR = ("SPOS-MMRAZOR", _shuffle_choices("7373x55335353x57735x"))
"""The network that MMRazor found."""
_ANGLENAS = (
    "SPOS-ANGLENAS",
    _proxyless_choices(
        "k5e3 k5e3 id k3e3 k3e3 id id k3e3 k7e6 id k7e3 k7e3 k3e3 k3e3 k7e3 k5e3 k5e6 k7e3 k7e3 k7e3 k5e6"
    ),
)
"""The network that AngleNAS (arXiv 2004.13431) found."""

_README = "README of SPOS in github.com/open-mmlab/mmrazor"
_ITS_COUNTER = "MACs are by MMRazor's counter, --counter mmrazor"
FIGURES: dict[tuple[str, str], PublishedFigures] = {
    ("spos-shufflenet", _MMRAZOR[0]): PublishedFigures("3.35M", "0.33G", 73.87, _README, remark=_ITS_COUNTER),
    ("spos-shufflenet", _PAPER[0]): PublishedFigures(None, None, 73.6, _README, remark="trained again there"),
    ("spos-shufflenet-authors", _PAPER[0]): PublishedFigures(
        None, None, 74.4, "github.com/megvii-model/SinglePathOneShot"
    ),
    ("spos-proxyless", _ANGLENAS[0]): PublishedFigures("5.94M", "0.49G", 75.98, _README, remark=_ITS_COUNTER),
}
"""What is stated of the published networks, by space and name."""


def spos_shufflenet(resolution: int = 224, classes: int = 1000) -> Space:
    """20 layers of 4 blocks of ShuffleNetV2 (arXiv 1807.11164), in MMRazor's form.

    Labels are `shuffle_3x3`, `shuffle_5x5`, `shuffle_7x7` and `shuffle_xception`; layers
    `stage_<s>_block_<b>`.
    """
    classifier = (Linear("classifier", _SHUFFLE_LAST, classes),)
    return _shuffle("spos-shufflenet", _mmrazor_block, classifier, resolution, classes, (_MMRAZOR, _PAPER))


def spos_shufflenet_authors(resolution: int = 224, classes: int = 1000) -> Space:
    """The same blocks in the authors' form.

    Stride 1 takes the channels in turn instead of halves that are shuffled afterwards; stride 2 keeps the
    input's width in the one branch and gives the rest in the other.
    """
    classifier = (Dropout(0.1), Linear("classifier", _SHUFFLE_LAST, classes, bias=False))
    return _shuffle("spos-shufflenet-authors", _authors_block, classifier, resolution, classes, (_PAPER,))


def _shuffle(
    name: str,
    block: Block,
    classifier: tuple[Op, ...],
    resolution: int,
    classes: int,
    published: tuple[tuple[str, str], ...],
) -> Space:
    layers, channels = list[Layer](), _SHUFFLE_STEM
    for stage, (wide, depth) in enumerate(_SHUFFLE_STAGES):
        for number in range(depth):
            sizes = {f"shuffle_{kernel}x{kernel}": kernel for kernel in _KERNELS} | {_XCEPTION: 0}
            candidates = tuple(
                Candidate(label, block(channels, wide, 1 if number else 2, kernel))
                for label, kernel in sizes.items()
            )
            layers.append(Layer(_layer_name(stage, number), candidates))
            channels = wide
    stem = (Conv("conv", 3, _SHUFFLE_STEM, kernel=3, stride=2, activation="relu"),)
    head = (Conv("conv", channels, _SHUFFLE_LAST, activation="relu"), GlobalPool(), *classifier)
    return Space(name, stem, tuple(layers), head, resolution, classes, published)


def _layer_name(stage: int, block: int) -> str:
    return f"stage_{stage}_block_{block}"


def _mmrazor_block(channels: int, wide: int, stride: int, kernel: int) -> tuple[Op, ...]:
    """Both branches give half of the output, which is shuffled."""
    half = wide // 2
    if stride == 1:
        branches = Branches(((), _main(half, half, half, 1, kernel)), split=True)
    else:
        branches = Branches((_skip(channels, half, kernel), _main(channels, half, half, stride, kernel)))
    return (branches, Shuffle())


def _authors_block(channels: int, wide: int, stride: int, kernel: int) -> tuple[Op, ...]:
    """Even channels pass, odd ones enter the branch; at stride 2 the projection keeps the input's width."""
    half = wide // 2
    if stride == 1:
        return (Shuffle(half), Branches(((), _main(half, half, half, 1, kernel)), split=True))
    main = _main(channels, half, wide - channels, stride, kernel)
    return (Branches((_skip(channels, channels, kernel), main)),)


def _skip(channels: int, outputs: int, kernel: int) -> tuple[Op, ...]:
    """Depthwise at stride 2, 1x1; xception has a 3x3 here."""
    return (
        Conv("skip_depthwise", channels, channels, kernel or 3, 2, groups=channels),
        Conv("skip_pointwise", channels, outputs, activation="relu"),
    )


def _main(channels: int, middle: int, outputs: int, stride: int, kernel: int) -> tuple[Op, ...]:
    """1x1, depthwise, 1x1; xception is three times depthwise 3x3 and 1x1, the stride in the first."""
    if not kernel:
        return tuple(_xception(channels, middle, outputs, stride))
    return (
        Conv("pointwise1", channels, middle, activation="relu"),
        Conv("depthwise", middle, middle, kernel, stride, groups=middle),
        Conv("pointwise2", middle, outputs, activation="relu"),
    )


def _xception(channels: int, middle: int, outputs: int, stride: int) -> Iterator[Op]:
    widths = (channels, middle, middle, outputs)
    for number, (before, after) in enumerate(pairwise(widths), start=1):
        yield Conv(f"depthwise{number}", before, before, 3, stride if number == 1 else 1, groups=before)
        yield Conv(f"pointwise{number}", before, after, activation="relu")


def spos_proxyless(resolution: int = 224, classes: int = 1000) -> Space:
    """21 layers of MobileNet-ProxylessGPU (arXiv 1812.00332): kernel {3, 5, 7} x expansion {3, 6}, or
    identity.

    Labels are `mb_k3e3` to `mb_k7e6` and `identity`, which is a 1x1 convolution without activation where the
    shape changes, and nothing elsewhere. Layers are `stage_<s>_block_<b>` from stage 1: stage 0 is the
    stem's.
    """
    layers, channels = list[Layer](), _PROXYLESS_FIRST
    for stage, (wide, depth, stride) in enumerate(_PROXYLESS_STAGES, start=1):
        for number in range(depth):
            candidates = _proxyless_candidates(channels, wide, 1 if number else stride)
            layers.append(Layer(_layer_name(stage, number), candidates))
            channels = wide
    stem = (
        Conv("conv", 3, _PROXYLESS_STEM, kernel=3, stride=2, activation="relu6"),
        *mbconv(_PROXYLESS_STEM, _PROXYLESS_FIRST, stride=1, kernel=3, expansion=1, squeeze_excite=False),
    )
    head = (
        Conv("conv", channels, _PROXYLESS_LAST, activation="relu6"),
        GlobalPool(),
        Linear("classifier", _PROXYLESS_LAST, classes),
    )
    return Space("spos-proxyless", stem, tuple(layers), head, resolution, classes, (_ANGLENAS,))


def _proxyless_candidates(channels: int, wide: int, stride: int) -> tuple[Candidate, ...]:
    blocks = tuple(
        Candidate(
            f"mb_k{kernel}e{expansion}",
            mbconv(channels, wide, stride, kernel, expansion, squeeze_excite=False),
        )
        for kernel, expansion in product(_KERNELS, _EXPANSIONS)
    )
    keeps_shape = stride == 1 and channels == wide
    shortcut: tuple[Op, ...] = () if keeps_shape else (Conv("shortcut", channels, wide, stride=stride),)
    return (*blocks, Candidate(IDENTITY, shortcut))
