"""Running out of memory, in words: which batch to try instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from train.errors import OutOfMemoryError

# torch has no class of its own for the CPU's allocator; on CUDA it has.
_REFUSED = ("can't allocate memory", "not enough memory")


@contextmanager
def enough_memory(stage: str, batch: int, remedy: str = "a batch of") -> Iterator[None]:
    """What runs inside goes through `batch` images at once; OutOfMemoryError where that is too many.

    `remedy` are the words before the number that is to be tried: a setting's name and `=`.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.cuda.OutOfMemoryError) or any(text in str(error) for text in _REFUSED):
            raise OutOfMemoryError(stage, batch, remedy) from error
        raise
