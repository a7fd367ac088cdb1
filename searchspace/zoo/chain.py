"""A network as a space of one candidate a layer, and the inverted bottlenecks that most of them are made of.

Blocks are written in a row as words: `k5e6se` is kernel 5, expansion 6 and squeeze-and-excite, `k3w200`
has 200 channels inside, `g2` is in two groups, `hs` has h-swish in place of the family's activation, and
`id` is a block that passes on what it gets, which is left out. A word is the label of its candidate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from searchspace.blocks import inverted_bottleneck
from searchspace.ops import Activation, Conv, Dropout, Gate, GlobalPool, Linear, Op, SqueezeExcite
from searchspace.space import Candidate, Layer, Space

IDENTITY = "id"

_WORD = re.compile(
    r"k(?P<kernel>\d+)(?:e(?P<expansion>\d+)|w(?P<width>\d+))(?P<se>se)?(?:g(?P<groups>\d+))?(?P<hs>hs)?"
)

Stages = Sequence[tuple[int, int, int]]
"""Channels, blocks, and the stride of the first of them, stage by stage."""


@dataclass(frozen=True, slots=True)
class Style:
    """What the bottlenecks of a family have in common.

    `squeezed` tells the channels inside a squeeze-and-excite, from a block's input channels and expanded
    ones.
    """

    activation: Activation
    squeezed: Callable[[int, int], int] | None = None
    gate: Gate = "sigmoid"


def chain(
    name: str,
    stem: tuple[Op, ...],
    blocks: Iterable[Candidate],
    head: tuple[Op, ...],
    resolution: int,
    classes: int,
) -> Space:
    """The space whose only network, called `name` as well, has these blocks in a row, `L0` and on."""
    layers = tuple(Layer(f"L{number}", (block,)) for number, block in enumerate(blocks))
    text = ",".join(label for layer in layers for label in layer.labels)
    return Space(name, stem, layers, head, resolution, classes, ((name, text),))


def first_conv(channels: int, activation: Activation) -> tuple[Op, ...]:
    """3x3 at stride 2 on an image."""
    return (Conv("conv", 3, channels, kernel=3, stride=2, activation=activation),)


def pooled_head(
    inputs: int, last: int, classes: int, activation: Activation, dropout: float = 0.0
) -> tuple[Op, ...]:
    """1x1 to `last` channels, pool, dropout where there is one, linear layer."""
    kept: tuple[Op, ...] = (Dropout(dropout),) if dropout else ()
    conv = Conv("conv", inputs, last, activation=activation)
    return (conv, GlobalPool(), *kept, Linear("classifier", last, classes))


def positions(inputs: int, stages: Stages) -> Iterator[tuple[int, int, int]]:
    """Input channels, output channels and stride of each block."""
    for channels, depth, stride in stages:
        for number in range(depth):
            yield inputs, channels, 1 if number else stride
            inputs = channels


def bottlenecks(words: str, inputs: int, stages: Stages, style: Style) -> Iterator[Candidate]:
    """The blocks that `words` name, one a position of `stages`, behind `inputs` channels."""
    for word, (wide, outputs, stride) in zip(words.split(), positions(inputs, stages), strict=True):
        if word != IDENTITY:
            yield Candidate(word, _bottleneck(word, wide, outputs, stride, style))


def _bottleneck(word: str, inputs: int, outputs: int, stride: int, style: Style) -> tuple[Op, ...]:
    found = _WORD.fullmatch(word)
    assert found is not None, word
    width = int(found["width"] or inputs * int(found["expansion"]))
    squeeze = None
    if found["se"]:
        assert style.squeezed is not None, word
        squeeze = SqueezeExcite("se", width, style.squeezed(inputs, width), style.gate)
    activation: Activation = "hswish" if found["hs"] else style.activation
    groups = int(found["groups"] or 1)
    return inverted_bottleneck(
        inputs, outputs, stride, int(found["kernel"]), width, squeeze, activation, groups
    )
