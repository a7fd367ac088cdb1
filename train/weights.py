"""Weights between torch and the arrays of a weights file (`ponas_deploy.weights`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ponas_deploy.weights import Arrays
from searchspace import Space
from train.data import Splits


def describe(layout: str, space: Space, splits: Splits, seed: int) -> dict[str, str]:
    """The header of a weights file: what a reader must know to use it."""
    return {
        "layout": layout,
        "space": space.name,
        "fingerprint": space.fingerprint,
        "resolution": str(space.resolution),
        "classes": str(space.classes),
        "data": splits.name,
        "mean": ",".join(map(str, splits.mean)),
        "std": ",".join(map(str, splits.std)),
        "seed": str(seed),
    }


def to_arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    """Tensors on any device and in any layout as float32 arrays."""
    return {
        name: tensor.detach().to("cpu", torch.float32).contiguous().numpy()
        for name, tensor in tensors.items()
    }


def load_arrays(module: nn.Module, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy arrays into a module whose state_dict has exactly these names."""
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
