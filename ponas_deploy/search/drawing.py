"""Random architectures within limits, however tight they are."""

from __future__ import annotations

import numpy as np

from ponas_deploy.search.columns import Indices
from ponas_deploy.search.limited import LimitedSpace


def draw_within(
    space: LimitedSpace, size: int, attempts: int, rng: np.random.Generator
) -> tuple[Indices, int]:
    """Up to `size` random architectures within the limits, (size, L), and how many were checked.

    `attempts` are drawn blindly; where limits are so tight that too few fit, as many again are built layer by
    layer. Fewer come back only under several limits at once, none at all when one of them cannot be met.
    """
    if (space.slack < 0).any():
        return np.empty((0, space.sizes.size), dtype=np.intp), 0
    drawn = (rng.random((attempts, space.sizes.size)) * space.sizes).astype(np.intp)
    fitting = drawn[space.fits(drawn)][:size]
    if len(fitting) == size:
        return fitting, attempts
    built = _build(space, attempts, rng)[: size - len(fitting)]
    return np.concatenate((fitting, built)), 2 * attempts


def _build(space: LimitedSpace, count: int, rng: np.random.Generator) -> Indices:
    """Architectures built layer by layer, in a random order of layers, of candidates that the slack still
    allows.

    Every layer not yet chosen can fall back on its least candidate. Under one limit that always ends well;
    under several the least candidates differ, and one with no way on is dropped: (at most count, L).
    """
    excess = space.by_layer(space.excess, np.inf)
    slack = np.repeat(space.slack[:, None], count, axis=1)
    choices = np.zeros((count, space.sizes.size), dtype=np.intp)
    alive, row = np.ones(count, dtype=np.bool_), np.arange(count)
    for layer in rng.permuted(np.tile(np.arange(space.sizes.size), (count, 1)), axis=1).T:
        options = excess[:, layer]
        affordable = np.all(options <= slack[:, :, None], axis=0)
        alive &= affordable.any(axis=1)
        picked = np.where(affordable, rng.random(affordable.shape), -1.0).argmax(axis=1)
        choices[row, layer] = picked
        slack -= options[:, row, picked]
    return choices[alive]
