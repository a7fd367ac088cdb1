"""A tiny space whose slowest network takes many times as long as its fastest, and commands that know it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import pytest

from at_once import AT_ONCE
from conftest import tiny_space
from ponas_deploy.profiling import supervise, worker
from searchspace.blocks import mbconv
from searchspace.space import Candidate, Layer, Space
from searchspace.spaces import SPACES


def spread_space(resolution: int = 48, classes: int = 10) -> Space:
    """Noise that makes a network three times as slow does not make it one of the slowest."""
    tiny = tiny_space(resolution, classes)
    layers = tuple(
        Layer(
            layer.name,
            tuple(Candidate(f"e{times}", mbconv(*shape, 3, times, False)) for times in (1, 4, 16, 64)),
        )
        for layer, shape in zip(tiny.layers, ((8, 16, 2), (16, 16, 1), (16, 16, 1)), strict=True)
    )
    return Space("spread", tiny.stem, layers, tiny.head, resolution, classes)


def know(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands find the space by name, and the process that profiles (`main`)."""
    monkeypatch.setitem(SPACES, "spread", spread_space)
    monkeypatch.setattr(supervise, "MODULE", __name__)


def main(arguments: Sequence[str]) -> None:
    SPACES["spread"] = spread_space
    for place, value in AT_ONCE.items():
        module, name = place.rsplit(".", 1)
        setattr(import_module(module), name, value)
    worker.main(arguments)
