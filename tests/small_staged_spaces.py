"""Spaces with stages small enough to try every network of them, and what is legal in them."""

from __future__ import annotations

from itertools import pairwise, product

from hypothesis import strategies as st

from searchspace import Candidate, Layer, Space
from searchspace.ops import Conv, GlobalPool, Linear

STEM, HEAD = (Conv("conv", 3, 8, stride=2),), (GlobalPool(), Linear("classifier", 8, 10))


def layer(name: str, blocks: int, absent: int | None) -> Layer:
    """So many blocks, and the candidate without operations at place `absent`."""
    candidates = [Candidate(f"b{index}", (Conv("conv", 8, 8, 2 * index + 1),)) for index in range(blocks)]
    if absent is not None:
        candidates.insert(absent, Candidate("none", ()))
    return Layer(name, tuple(candidates))


def staged(stages: tuple[int, ...], layers: tuple[Layer, ...]) -> Space:
    return Space("staged", STEM, layers, HEAD, 8, 10, stages=stages)


@st.composite
def staged_spaces(draw: st.DrawFn) -> Space:
    """One or two stages of one to three layers, with the absent candidates at any place of a layer."""
    stages = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    layers: list[Layer] = []
    for size in stages:
        kept = draw(st.integers(0, size))
        for place in range(size):
            blocks = draw(st.integers(1, 2))
            absent = draw(st.integers(0, blocks)) if place >= kept else None
            layers.append(layer(f"layer{len(layers)}", blocks, absent))
    return staged(tuple(stages), tuple(layers))


def every_list(space: Space) -> list[tuple[int, ...]]:
    """Every list of one candidate index a layer, legal or not."""
    return list(product(*(range(len(one.candidates)) for one in space.layers)))


def is_legal(space: Space, indices: tuple[int, ...]) -> bool:
    """Whether in every stage only absent layers follow an absent one."""
    gone = [not one.candidates[index].ops for one, index in zip(space.layers, indices, strict=True)]
    ends = [sum(space.stages[:stage]) for stage in range(len(space.stages) + 1)]
    parts = [gone[start:end] for start, end in pairwise(ends)]
    return all(part == sorted(part) for part in parts)
