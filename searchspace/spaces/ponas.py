"""The search space of PONAS (Progressive One-shot Neural Architecture Search, arXiv 2003.05112, 3.1).

Table 1 of the paper is garbled; the authors' published models settle the 19 layers written here.
"""

from __future__ import annotations

from itertools import product

from searchspace.blocks import mbconv
from searchspace.ops import Conv, Dropout, GlobalPool, Linear
from searchspace.space import Candidate, Layer, Space

# (output channels, stride) of the 19 searchable layers.
_PONAS_LAYERS = (
    (32, 2), (32, 1),
    (40, 2), (40, 1), (40, 1), (40, 1),
    (80, 2), (80, 1), (80, 1), (80, 1),
    (96, 1), (96, 1), (96, 1), (96, 1),
    (192, 2), (192, 1), (192, 1), (192, 1),
    (320, 1),
)  # fmt: skip

# Figure 3 of the paper, confirmed by the authors' published models.
_PUBLISHED = (
    (
        "PONAS-A",
        "k5e6,k5e3,k7e3se,k5e3se,k5e3,k7e3,k7e6se,k5e3se,k5e3se,k5e3se,"
        "k5e3,k7e3,k7e3,k7e3se,k7e6se,k7e3se,k5e3,k7e3se,k5e6se",
    ),
    (
        "PONAS-B",
        "k3e6se,k7e3se,k5e6,k5e3se,k5e3,k5e3,k7e6,k5e3se,k5e3se,k5e3se,"
        "k5e6se,k7e3,k7e3,k7e3se,k7e6se,k7e3se,k5e3,k7e3,k5e6se",
    ),
    (
        "PONAS-C",
        "k5e6,k7e3se,k5e6se,k5e3se,k5e3,k7e3,k7e6,k5e3se,k7e3se,k5e6se,"
        "k5e6se,k7e3,k7e3,k5e6se,k7e6se,k7e3se,k5e3,k7e3se,k5e6se",
    ),
)


def ponas(resolution: int = 224, classes: int = 1000) -> Space:
    """19 layers of 12 MBConvs: expansion {3, 6} x kernel {3, 5, 7} x squeeze-and-excite {no, yes}.

    Labels read `k5e3` and `k7e6se`.
    """
    stem = (
        Conv("conv", 3, 32, kernel=3, stride=2, activation="relu6"),
        *mbconv(32, 16, stride=1, kernel=3, expansion=1, squeeze_excite=False),
    )
    head = (
        Conv("conv", 320, 1280, activation="relu6"),
        GlobalPool(),
        Dropout(0.2),
        Linear("classifier", 1280, classes),
    )
    layers, in_channels = [], 16
    for index, (out_channels, stride) in enumerate(_PONAS_LAYERS, start=1):
        layers.append(Layer(str(index), _ponas_candidates(in_channels, out_channels, stride)))
        in_channels = out_channels
    return Space("ponas", stem, tuple(layers), head, resolution, classes, _PUBLISHED)


def _ponas_candidates(in_channels: int, out_channels: int, stride: int) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            f"k{kernel}e{expansion}{'se' if squeeze_excite else ''}",
            mbconv(in_channels, out_channels, stride, kernel, expansion, squeeze_excite),
        )
        for expansion, squeeze_excite, kernel in product((3, 6), (False, True), (3, 5, 7))
    )
