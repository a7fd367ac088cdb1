"""Networks of a finished supernet, evaluated as they are inherited, to fit or certify a table.

A subnet takes over the weights of its candidates. Its batch norm statistics are measured again on training
images (`train.stages.statistics`); then it sees the validation images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from ponas_deploy.files.weights import Arrays
from searchspace import Architecture, Space
from searchspace.weights import inherit
from train.compute import Compute, distributed, threads
from train.data import Images, Splits
from train.networks import Network, SharedPrefixes, shared_parts
from train.progress import Evaluation
from train.stages.loop import EVALUATION_BATCH, Tally
from train.stages.sampling import Choices
from train.stages.statistics import Statistics

_BATCHES, _PIXELS = (64, 256), 2**18
"""Images at once on a CPU, and their pixels in all: more do not fit its caches, fewer leave it waiting.

Of 32 px 256 take 0.7 of the time of as many in groups of 64; of 64 px they take more.
"""

OnImages: TypeAlias = Callable[[int, int], None]
"""Called with the images that were seen, and those in total."""


@dataclass(frozen=True, slots=True)
class Subnet:
    """A network and its accuracy on all validation images, and top-1 in percent on each half of them.

    The halves are every other image: images that lie in order of their classes are split evenly.
    """

    choices: Choices
    evaluation: Evaluation
    halves_pct: tuple[float, float]


class Supernet:
    """The weights of every candidate, read once. Networks made of them share them.

    `elastic`: those of a layer's candidates are parts of one another (Once-for-all).
    """

    def __init__(
        self, space: Space, tensors: Arrays | Mapping[str, Tensor], compute: Compute, *, elastic: bool = False
    ) -> None:
        self.space, self._elastic = space, elastic
        self._tensors = {name: compute.put(torch.as_tensor(each)) for name, each in tensors.items()}

    def network(self, choices: Choices) -> Network:
        """A network with inherited weights; WeightsError when the supernet is of another space or size.

        Only its batch norm statistics are its own: nothing else may be changed in place.
        """
        architecture = Architecture(self.space, choices)
        with torch.device("meta"):  # no memory, no random numbers
            network = Network(architecture)
        tensors = inherit(self._tensors, architecture)
        network.load_state_dict({name: _own(name, each) for name, each in tensors.items()}, assign=True)
        return network.requires_grad_(False)

    def statistics(self, splits: Splits, seed: int) -> Statistics:
        """What its networks' batch norm is measured with, the same for each."""
        return Statistics.of_subnets(splits, seed, elastic=self._elastic)


def _own(name: str, tensor: Tensor) -> Tensor:
    return tensor.clone() if name.endswith(("running_mean", "running_var")) else tensor


def evaluate_subnets(
    supernet: Supernet,
    networks: Sequence[Choices],
    splits: Splits,
    compute: Compute,
    seed: int,
    on_images: OnImages | None = None,
) -> tuple[Subnet, ...]:
    """Evaluate networks side by side: images are decoded once for all, and equal beginnings computed once.

    On a CPU each lane of `compute` works on networks of its own in one thread, so that the result
    depends neither on the lanes nor on which networks come together. `on_images` is called with how many
    images all of them have seen, and how many they will. Several processes share the images.
    """
    statistics = supernet.statistics(splits, seed)
    measured = len(statistics.order)
    total = measured + len(splits.validation.labels)

    def report(seen: int) -> None:
        if on_images:
            on_images(seen, total)

    groups = _groups(networks, compute.lanes)
    with threads(1):
        modules = [SharedPrefixes.of([supernet.network(networks[i]) for i in group]) for group in groups]
        statistics.measure(modules, compute, report)
        folded = [compute.place(module.folded()) for module in modules]
        found = _evaluated(
            folded, splits.validation, splits.resolution, compute, lambda seen: report(measured + seen)
        )
    tallies = dict(zip(chain.from_iterable(groups), chain.from_iterable(found), strict=True))
    return tuple(_subnet(choices, tallies[place]) for place, choices in enumerate(networks))


def _groups(networks: Sequence[Choices], lanes: int) -> list[list[int]]:
    """The places of the networks of each lane: neighbours in sorted order, as many parts in each."""
    order = sorted(range(len(networks)), key=networks.__getitem__)
    starts = shared_parts([networks[place] for place in order])
    work = np.cumsum([len(networks[0]) + 2 - start for start in starts])
    cuts = np.searchsorted(work, work[-1] * np.arange(1, lanes) / lanes)
    ends = [0, *cuts.tolist(), len(order)]
    return [order[start:end] for start, end in pairwise(ends) if start < end]


_Tallies: TypeAlias = tuple[Tally, Tally, Tally]
"""Of all images, of those at even places and of those at odd ones."""
_PARTS = (slice(None), slice(0, None, 2), slice(1, None, 2))


def _evaluated(
    modules: Sequence[SharedPrefixes],
    images: Images,
    side: int,
    compute: Compute,
    on_images: Callable[[int], None],
) -> list[list[_Tallies]]:
    """What the networks of each module come to on images of `side` pixels."""
    seen = 0
    tallies = [[(Tally(), Tally(), Tally()) for _ in module.starts] for module in modules]
    size = EVALUATION_BATCH
    if compute.device.type == "cpu":
        least, most = _BATCHES
        size = max(least, min(most, _PIXELS // side**2))
    for batch, labels in images.batches(size, distributed.own_images(len(images.labels))):
        x, targets = compute.put(batch), compute.put(labels)

        def add_networks(index: int, x: Tensor = x, targets: Tensor = targets) -> None:
            with torch.inference_mode(), compute.precision():
                found = modules[index](x)
            for logits, own in zip(found, tallies[index], strict=True):
                for tally, part in zip(own, _PARTS, strict=True):
                    tally.add(logits[part], targets[part])

        compute.each(add_networks, range(len(modules)))
        seen += len(labels)
        on_images(seen)
    return tallies


def _subnet(choices: Choices, tallies: _Tallies) -> Subnet:
    whole, first, second = (tally.everywhere().result() for tally in tallies)
    return Subnet(choices, whole, (first.top1_pct, second.top1_pct))
