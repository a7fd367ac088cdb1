"""Images as they travel to a board: a byte a value where no channel has more than 256 of them, else floats.

Photographs have 256 values a channel, whatever is made of them by mean and standard deviation: the values go
along, as the floats that they are, so that the board has the same bits and does no arithmetic. Runs on a
board too.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Callable, Iterator, TypeVar

import numpy as np

Batch = TypeVar("Batch")

MOST_BYTES = 16 << 20
"""Images that travel together, as floats: enough that round trips weigh little, and that a bar goes on."""
_VALUES = 256
_ZIP = b"PK"


class Packing:
    """Packs float32 images (N, C, H, W); it knows the values of each channel from what it packed before."""

    def __init__(self) -> None:
        self._values: list[np.ndarray] = []
        """Of each channel, ascending, as whole numbers of the same 32 bits."""

    def packed(self, images: np.ndarray) -> bytes:
        """A file of NumPy's that `unpacked` makes the same images of."""
        file, bits = io.BytesIO(), np.ascontiguousarray(images, np.float32).view(np.int32)
        places = self._places(bits) if images.ndim == 4 else None
        if places is None:
            np.save(file, images, allow_pickle=False)
        else:
            values = np.zeros((len(self._values), _VALUES), np.int32)
            for channel, known in enumerate(self._values):
                values[channel, : len(known)] = known
            np.savez(file, values=values.view(np.float32), places=places)
        return file.getvalue()

    def _places(self, bits: np.ndarray) -> np.ndarray | None:
        """Where each value stands among those of its channel; None where there are too many."""
        channels = bits.shape[1]
        if len(self._values) != channels:
            self._values = [np.zeros(0, np.int32) for _ in range(channels)]
        found = np.empty(bits.shape, np.uint8)
        for channel in range(channels):
            of_channel, known = bits[:, channel], self._values[channel]
            at, there = _looked_up(known, of_channel)
            if not there.all():
                known = np.union1d(known, of_channel[~there])
                if len(known) > _VALUES:
                    return None
                self._values[channel] = known
                at, _ = _looked_up(known, of_channel)
            found[:, channel] = at
        return found


def _looked_up(known: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where values stand among known ones, and which of them do."""
    if not len(known):
        return np.zeros(values.shape, np.intp), np.zeros(values.shape, bool)
    at = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return at, known[at] == values


def unpacked(file: Path) -> np.ndarray:
    """The images of a file."""
    with file.open("rb") as opened:
        is_packed = opened.read(len(_ZIP)) == _ZIP
    found = np.load(str(file), allow_pickle=False)
    if not is_packed:
        return np.asarray(found)
    with found:
        values, places = found["values"], found["places"]
    images = np.empty(places.shape, np.float32)
    for channel, known in enumerate(values):
        images[:, channel] = known[places[:, channel]]
    return images


def grouped(batches: Iterable[Batch], size_of: Callable[[Batch], int]) -> Iterator[list[Batch]]:
    """Batches that travel together: as many as `MOST_BYTES` hold by their sizes in bytes, one at least."""
    waiting: list[Batch] = []
    size = 0
    for one in batches:
        if waiting and size + size_of(one) > MOST_BYTES:
            yield waiting
            waiting, size = [], 0
        waiting.append(one)
        size += size_of(one)
    if waiting:
        yield waiting
