"""Networks over the latency range, at random and of the Pareto front: to fit a table to, and certify it on.

Uniformly drawn networks all cost about the same (sums over many layers concentrate), and say nothing
about the cheap and the expensive end, where budgets lie. Here each layer draws candidate c with
probability proportional to exp(-tilt * cost of c): the least presumptuous distribution with a given
expected total (Jaynes, Phys. Rev. 106, 1957). One tilt for each of evenly spaced targets.

They are not like the networks that a search returns. Those take in layer after layer what gains most for
its cost, so an error in one kind of block adds up in all of them, and networks that are merely spread do not
show it. Nor are they like random ones, which vary more. So there are some of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.search.frontier import exact_front

Floats = NDArray[np.float64]
Choices = tuple[int, ...]
Thing = TypeVar("Thing")

_MARGIN = 0.05
"""The share of the range left out at both ends, where there is but one network."""
_DRAWS = 8


def varied_networks(
    costs: Sequence[Floats], losses: Sequence[Floats], each: int, seed: int
) -> tuple[Choices, ...]:
    """Different networks: `each` spread over the range, as many at random, as many of the Pareto front.

    `costs` and `losses` (layers, candidates) in any units. They stand kind by kind, what is spread and what
    is of the front in order of cost. Fewer where a kind has fewer that are new.
    """
    rng = np.random.default_rng(seed)
    front = [tuple(map(int, row)) for row in exact_front(costs, losses).choices]
    random = [tuple(int(rng.integers(len(layer))) for layer in costs) for _ in range(each)]
    return tuple(dict.fromkeys((*spread_networks(costs, each, seed), *random, *evenly(front, each))))


def evenly(things: Sequence[Thing], count: int) -> list[Thing]:
    """`count` of the things at even distances; all where there are fewer."""
    count = min(count, len(things))
    return [things[int((number + 0.5) * len(things) / count)] for number in range(count)]


def spread_networks(costs: Sequence[Sequence[float] | Floats], count: int, seed: int) -> tuple[Choices, ...]:
    """`count` different networks by candidate index, from the cheapest to the most expensive.

    `costs` (layers, candidates) in any unit. Fewer where the space has fewer.
    """
    rng = np.random.default_rng(seed)
    layers = [np.asarray(row, dtype=np.float64) for row in costs]
    least, most = (sum(float(pick(layer)) for layer in layers) for pick in (np.min, np.max))
    found: list[Choices] = []
    for position in np.linspace(_MARGIN, 1 - _MARGIN, count) if count > 1 else [0.5]:
        target = least + float(position) * (most - least)
        chances = tilted(layers, target)
        drawn = [tuple(int(rng.choice(len(p), p=p)) for p in chances) for _ in range(_DRAWS)]
        fresh = [choices for choices in drawn if choices not in found]
        if fresh:
            away = [abs(total(layers, choices) - target) for choices in fresh]
            found.append(fresh[away.index(min(away))])
    for _ in range(_DRAWS * count):  # a small space runs out of networks near some targets
        anything = tuple(int(rng.integers(len(layer))) for layer in layers)
        if len(found) < count and anything not in found:
            found.append(anything)
    return tuple(sorted(found, key=lambda choices: total(layers, choices)))


def tilted(layers: Sequence[Floats], target: float) -> list[Floats]:
    """Each layer's probabilities, such that the expected total is `target`."""
    costs, starts = np.concatenate(layers), np.cumsum([0, *map(len, layers[:-1])])
    sizes = [len(layer) for layer in layers]
    costs = costs - np.repeat(np.minimum.reduceat(costs, starts), sizes)
    wanted = target - sum(float(layer.min()) for layer in layers)

    def chances(tilt: float) -> Floats:
        exponent = -tilt * costs
        weight = np.exp(exponent - np.repeat(np.maximum.reduceat(exponent, starts), sizes))
        return np.asarray(weight / np.repeat(np.add.reduceat(weight, starts), sizes), dtype=np.float64)

    high = 200.0 / (float(costs.max()) or 1.0)
    low = -high
    for _ in range(50):
        tilt = (low + high) / 2
        low, high = (tilt, high) if float(chances(tilt) @ costs) > wanted else (low, tilt)
    return np.split(chances(tilt), starts[1:])


def total(layers: Sequence[Floats], choices: Choices) -> float:
    """The cost of a network."""
    return sum(float(layer[index]) for layer, index in zip(layers, choices, strict=True))
