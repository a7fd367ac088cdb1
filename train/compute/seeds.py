"""Random generators by name, so that a resumed run draws what the unbroken one would have drawn."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def derive(seed: int, *parts: str | int) -> int:
    """A seed for one purpose ("order", "meta", 3) of a run with `seed`; 0 <= value < 2**63."""
    text = "/".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *parts: str | int) -> torch.Generator:
    """A generator on the CPU for one purpose."""
    return torch.Generator().manual_seed(derive(seed, *parts))


def shuffled(count: int, batch: int, *parts: str | int, seed: int) -> Tensor:
    """A random order of `count` images in whole batches: a rest smaller than `batch` is left out.

    Batch norm cannot train on a rest of one image. With fewer images than `batch`, all are taken.
    """
    order = torch.randperm(count, generator=generator(seed, *parts))
    return order[: count - count % batch] if count >= batch else order
