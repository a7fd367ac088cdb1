"""Which training images measure batch norm statistics again, and how.

Those of a supernet belong to the neighbours that a block was trained with (single path one-shot search, arXiv
1904.00420), or to all networks together (Once-for-all).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil

from torch import Tensor, nn

from train.compute import Compute, derive, shuffled
from train.data import Images, Splits
from train.stages.loop import recalibrate

_ELASTIC_IMAGES, _ELASTIC_BATCH = 2000, 200
SUBNET_IMAGES, SUBNET_BATCH = 512, 64
"""Of networks whose candidates do not share weights, while many are evaluated. Against all training images,
top-1 was off by one standard deviation of 0.6 points on the digits (40 networks; 1.5 with 64 images, 0.7
with 256) and of 0.5 on 30 fractals (20 networks; 0.8 and 0.5), where the validation images themselves leave a
noise of 1.5 and 1.0."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Training images at `order` (N,), in batches of `batch`; `augment` and `biased` as in `recalibrate`."""

    images: Images
    order: Tensor
    batch: int
    augment: int | None = None
    biased: bool = False

    @classmethod
    def plain(cls, splits: Splits, batch: int, most: int, seed: int) -> Statistics:
        """At most so many images as they are, and the variance estimated for all of them."""
        order = shuffled(len(splits.train.labels), batch, "statistics", seed=seed)[:most]
        return cls(splits.train, order, batch)

    @classmethod
    def elastic(cls, splits: Splits, seed: int) -> Statistics:
        """As the authors of Once-for-all measure them (github.com/mit-han-lab/once-for-all @f03b267).

        Averages of mean and biased variance over 10 batches of 200 augmented images; of fewer images all,
        in equal batches.
        """
        count = len(splits.train.labels)
        batch = max(count // ceil(count / _ELASTIC_BATCH), 1) if count < _ELASTIC_IMAGES else _ELASTIC_BATCH
        order = shuffled(count, batch, "statistics", seed=seed)[:_ELASTIC_IMAGES]
        return cls(splits.train, order, batch, derive(seed, "statistics"), biased=True)

    @classmethod
    def of_subnets(cls, splits: Splits, seed: int, *, elastic: bool) -> Statistics:
        """Of networks of a supernet that are evaluated side by side."""
        if elastic:
            return cls.elastic(splits, seed)
        return cls.plain(splits, SUBNET_BATCH, SUBNET_IMAGES, seed)

    @staticmethod
    def most(elastic: bool) -> int:
        """The most images of `of_subnets`."""
        return _ELASTIC_IMAGES if elastic else SUBNET_IMAGES

    def measure(
        self, networks: Iterable[nn.Module], compute: Compute, on_images: Callable[[int], None] | None = None
    ) -> None:
        """Replace the statistics of networks; `on_images` is called with how many images were seen."""
        recalibrate(
            networks,
            self.images,
            self.order,
            self.batch,
            compute,
            augment=self.augment,
            biased=self.biased,
            on_images=on_images,
        )
