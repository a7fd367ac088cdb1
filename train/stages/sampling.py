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

from searchspace import Space
from train.compute import derive
from train.stages.opening import Choose, Opening, draw

Side = Literal["fit", "certify"]
Choices = tuple[str, ...]


def sample(space: Space, side: Side, seed: int) -> Iterator[Choices]:
    """Different networks of one side, one candidate a layer, each as likely as any other.

    In a space with stages each depth of a stage is as likely as another, because nearly all of its networks
    are deep, and few would tell what a layer less costs. The same seed gives the same networks in the same
    order, however many are taken; a small space ends.
    """
    choose = random.Random(derive(seed, "subnets", side)).randrange
    total, seen = prod(space.groups.sizes), set[Choices]()
    while len(seen) < total:
        choices = _drawn(space, choose)
        if choices not in seen:
            seen.add(choices)
            if side_of(choices) == side:
                yield choices


def _drawn(space: Space, choose: Choose) -> Choices:
    if space.stages:
        return draw(space, Opening.whole(space), choose).choices
    return tuple(labels[choose(len(labels))] for labels in space.labels)


def side_of(choices: Choices) -> Side:
    """Whether a network fits tables or certifies them."""
    return "certify" if hashlib.sha256(",".join(choices).encode()).digest()[0] < 64 else "fit"
