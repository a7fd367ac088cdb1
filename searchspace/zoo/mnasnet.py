"""MnasNet-A1 (arXiv 1807.11626), as models/official/mnasnet of github.com/tensorflow/tpu has it."""

from __future__ import annotations

from searchspace.space import Space
from searchspace.zoo.chain import Stages, Style, bottlenecks, chain, first_conv, pooled_head
from searchspace.zoo.published import PublishedNetwork

_STAGES = ((16, 1, 1), (24, 2, 2), (40, 3, 2), (80, 4, 2), (112, 2, 1), (160, 3, 2), (320, 1, 1))
_WORDS = "k3e1" + " k3e6" * 2 + " k5e3se" * 3 + " k3e6" * 4 + " k3e6se" * 2 + " k5e6se" * 3 + " k3e6"
_STEM, _LAST = 32, 1280
_STYLE = Style("relu", lambda inputs, width: inputs // 4)


def mnasnet(name: str, words: str, stages: Stages, resolution: int, classes: int) -> Space:
    """A network of that family, squeezed to a quarter of a block's input."""
    blocks = bottlenecks(words, _STEM, stages, _STYLE)
    head = pooled_head(stages[-1][0], _LAST, classes, "relu", dropout=0.2)
    return chain(name, first_conv(_STEM, "relu"), blocks, head, resolution, classes)


def _mnasnet_a1(resolution: int, classes: int) -> Space:
    return mnasnet("MnasNet-A1", _WORDS, _STAGES, resolution, classes)


NETWORKS = (PublishedNetwork("MnasNet-A1", _mnasnet_a1, "3.9M", "312M", 75.2, "arXiv 1807.11626, table 1"),)
