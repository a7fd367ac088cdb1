"""A space whose candidates are no parts of each other, small enough to train its supernet in a test."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_training

import searchspace.spaces.registry
from searchspace.blocks import mbconv
from searchspace.ops import Conv, Op
from searchspace.space import Candidate, Layer, Space
from train.settings import SinglePathSettings

SINGLE = SinglePathSettings(epochs=4, lr=0.1, batch=16, threads=1, networks=20)
SETTINGS = tiny_training.changed(space="paths", single_path=replace(SINGLE, epochs=12))
BLOCKS = {"mb_k3e3": (3, 3), "mb_k5e3": (5, 3), "mb_k3e6": (3, 6)}
"""Kernel sizes and expansion ratios."""


def space(resolution: int = 16, classes: int = 3) -> Space:
    """Layers of 4, 3 and 4 candidates; the identity of the first, whose shape changes, is a convolution."""
    plain = tiny_training.space(resolution, classes)
    layers = (
        _layer("1", 4, 2, tuple(BLOCKS), (Conv("shortcut", 4, 8, stride=2),)),
        _layer("2", 8, 1, tuple(BLOCKS)[:2]),
        _layer("3", 8, 1, tuple(BLOCKS)),
    )
    return Space("paths", plain.stem, layers, plain.head, resolution, classes)


def _layer(
    name: str, inputs: int, stride: int, labels: tuple[str, ...], identity: tuple[Op, ...] = ()
) -> Layer:
    blocks = (
        Candidate(label, mbconv(inputs, 8, stride, *BLOCKS[label], squeeze_excite=False)) for label in labels
    )
    return Layer(name, (*blocks, Candidate("identity", identity)))


def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run find this space and the tiny images by name."""
    tiny_training.known(monkeypatch)
    monkeypatch.setitem(searchspace.spaces.registry.SPACES, "paths", space)
