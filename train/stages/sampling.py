"""Which random networks a table is fitted to, and which ones certify it: two sides that share none.

A hash of the network alone decides its side, a quarter of the space certifies. So no seed, number of
networks or second run lets a network that a table was fitted to certify that table.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from math import prod
from typing import Literal

import numpy as np

from searchspace import Architecture, Space
from train.compute import derive

Side = Literal["fit", "certify"]
Choices = tuple[str, ...]


def sample(space: Space, side: Side, seed: int) -> Iterator[Choices]:
    """Different networks of one side, one candidate a layer, each as likely as any other.

    The same seed gives the same networks in the same order, however many are taken; a small space ends.
    """
    draws = random.Random(derive(seed, "subnets", side))
    groups = space.groups
    total, seen = prod(groups.sizes), set[Choices]()
    while len(seen) < total:
        picked = groups.choices(np.array([draws.randrange(size) for size in groups.sizes], dtype=np.intp))
        choices = Architecture.from_indices(space, picked.tolist()).choices
        if choices not in seen:
            seen.add(choices)
            if side_of(choices) == side:
                yield choices


def side_of(choices: Choices) -> Side:
    """Whether a network fits tables or certifies them."""
    return "certify" if hashlib.sha256(",".join(choices).encode()).digest()[0] < 64 else "fit"
