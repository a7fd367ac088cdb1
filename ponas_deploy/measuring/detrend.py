"""Detrending: how fast the machine was around each sample is taken out before anything is compared.

Clocks, neighbours in the cache and on the memory bus make a shared machine some percent slower or faster for
a second or for a minute, for whatever runs then. In random order the samples just before and after one are
of other things, so the median of what they took, each relative to its own median, is the machine's level at
that moment. `docs/measuring.md` has what this is worth. Needs nothing but the order of the samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.measuring.protocol import Samples
from ponas_deploy.tables.measurement import Measurement

Floats = NDArray[np.float64]

NEIGHBOURS = 20
"""On either side. Fewer follow the machine more closely and are noisier; 8 to 40 do about as well."""
_PASSES = 3


def measurements(samples: Samples) -> dict[str, Measurement]:
    """All that was timed, by key, with the machine's level at each round."""
    taken = list(samples.sequence)
    values = np.array([samples.rounds[key][number] for key, number in taken])
    index = {key: place for place, key in enumerate(samples.rounds)}
    found = levels(np.array([index[key] for key, _ in taken]), values)
    by_sample = dict(zip(taken, found, strict=True))
    return {
        key: Measurement(
            samples.runs[key],
            tuple(rounds[number] for number in sorted(rounds)),
            tuple(round(float(by_sample[key, number]), 5) for number in sorted(rounds)),
        )
        for key, rounds in samples.rounds.items()
    }


def levels(keys: NDArray[np.intp], values: Floats) -> Floats:
    """The level (S,) at each of S samples in the order they were taken; `keys` (S,) number what was timed.

    1 where the machine was as usual, 1.03 where everything took 3 % longer. A sample has no part in its own
    level, which would take its own noise for the machine's.
    """
    level = np.ones(len(values))
    half = min(NEIGHBOURS, (len(values) - 1) // 2)
    if half < 1:
        return level
    of_key = [np.flatnonzero(keys == key) for key in range(keys.max() + 1)]
    for _ in range(_PASSES):
        usual = np.empty(len(values))
        for places in of_key:
            usual[places] = np.median(values[places] / level[places])
        level = _around(values / usual, half)
    return level / float(np.median(level))


def _around(relative: Floats, half: int) -> Floats:
    """The median of `half` values on either side of each, without itself; mirrored at the ends."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(relative, half, mode="reflect"), 2 * half + 1)
    return np.asarray(np.median(np.delete(windows, half, axis=1), axis=1), dtype=np.float64)
