"""Points of attractors and the pixels they fall on: arrays in, arrays out, no settings.

The chaos game draws an attractor by walking: apply a map chosen at random, mark the point, go on. Here
the walk is unrolled: the attractor is cut into cells of about equal probability, and each cell is drawn
with the same points of the whole, moved into it. The points follow the same distribution, an image
takes a tenth of the time, and no part of a picture is missed by chance.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEM = 64  # points that every cell is drawn with
_SCALE = (0.7, 1.0)  # of the frame that a picture takes


def stream(seed: int, *purpose: int) -> np.random.Generator:
    """Random numbers for one purpose, whatever else is drawn before."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=purpose)))


def cell_count(size: int, density: float) -> int:
    """Cells to draw so that a frame of `size` pixels gets `density` points a pixel."""
    return max(STEM, round(size * size * density / STEM))


def points(
    maps: Floats, probabilities: Floats, starts: Floats, stems: Floats
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Points of the attractors of systems (B, m, 6): x and y, each (K * J,), one system after the other.

    The attractor is cut into K cells and each is drawn with the same J points of the whole. `starts`
    (B, K) and `stems` (B, J) are numbers uniform in [0, 1).
    """
    count = starts.shape[1]
    cells = _cells(maps, probabilities, (np.arange(count) + starts) / count)
    chosen = ((np.arange(stems.shape[1]) + stems) * (count / stems.shape[1])).astype(np.int64)
    a, b, c, d, e, f = (np.take_along_axis(part, chosen, axis=1) for part in cells)
    # Twice into a cell: from the origin into a cell, and from there into another one.
    x, y = a * e[:, ::-1] + b * f[:, ::-1] + e, c * e[:, ::-1] + d * f[:, ::-1] + f
    stem = np.stack([x, y], axis=1).astype(np.float32)
    for parts, (u, v) in zip(np.stack(cells, axis=1).astype(np.float32), stem, strict=True):
        p, q, r, s, right, down = parts[:, :, None]
        yield (p * u + q * v + right).ravel(), (r * u + s * v + down).ravel()


def _cells(maps: Floats, probabilities: Floats, addresses: Floats) -> tuple[Floats, ...]:
    """The maps onto cells of the attractors, one for each address (B, K) in [0, 1): six arrays (B, K).

    An address is read like an arithmetic code: it names the first map, what is left names the next,
    until the cell's probability is at most 1 / K. So evenly spaced addresses miss no part.
    """
    ends = np.cumsum(probabilities)[:-1]
    begins = np.concatenate([[0.0], ends, [0.0]])  # the last entry is the identity: nothing more to read
    shares = np.concatenate([probabilities, [1.0]])
    identity = np.broadcast_to([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], (len(maps), 1, 6))
    extended = np.concatenate([maps, identity], axis=1)
    table = np.ascontiguousarray(np.moveaxis(extended, -1, 0)).reshape(6, -1)
    rows = np.arange(len(maps))[:, None] * extended.shape[1]
    least, share = 1 / addresses.shape[1], np.ones_like(addresses)
    a, b, c, d, e, f = (np.full_like(addresses, value) for value in identity[0, 0])
    while (share > least).any():
        symbols = np.where(share > least, np.searchsorted(ends, addresses, side="right"), len(shares) - 1)
        addresses = (addresses - begins[symbols]) / shares[symbols]
        share = share * shares[symbols]
        p, q, r, s, t, u = (part[rows + symbols] for part in table)
        a, b, e = a * p + b * r, a * q + b * s, a * t + b * u + e
        c, d, f = c * p + d * r, c * q + d * s, c * t + d * u + f
    return a, b, c, d, e, f


def histogram(x: NDArray[np.float32], y: NDArray[np.float32], size: int, place: Floats) -> NDArray[np.int64]:
    """How many points fall on each pixel: (size, size), a border of one pixel left free.

    `place`: scale, horizontal and vertical position in the frame, each in [0, 1].
    """
    left, top = x.min(), y.min()
    width, height = x.max() - left, y.max() - top
    frame = np.float32(size - 3)
    scale = np.float32(_SCALE[0] + (_SCALE[1] - _SCALE[0]) * place[0]) * frame / max(width, height, 1e-6)
    right, down = (
        np.float32(place[1]) * (frame - scale * width),
        np.float32(place[2]) * (frame - scale * height),
    )
    columns = ((x - left) * scale + np.float32(right + 1.5)).astype(np.int32)
    rows = ((y - top) * scale + np.float32(down + 1.5)).astype(np.int32)
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)
