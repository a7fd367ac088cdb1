"""Weights between torch and files: safetensors with metadata, written whole or not at all.

The one place that knows the file: tensors by the names of `searchspace.weights` (layout "network" or
"supernet"), and a header that says what they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor, nn

from ponas_deploy.errors import FileFormatError
from ponas_deploy.records import write_bytes
from searchspace import Space
from train.data import Splits

FORMAT = "ponas.weights/1"

Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """Tensors by name and the file's header."""

    tensors: Arrays
    metadata: dict[str, str]


def write_weights(path: Path, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Write arrays as safetensors, over an older file of that name; PonasError when the disk refuses."""
    write_bytes(path, save(arrays, {"format": FORMAT, **metadata}), overwrite=True)


def read_weights(path: Path) -> WeightsFile:
    """Read a safetensors file, ours or another's; FileFormatError when it is none."""
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return WeightsFile(tensors, dict(file.metadata() or {}))
    except FileNotFoundError as error:
        raise FileFormatError(path, "", "there is no such file.") from error
    except (OSError, SafetensorError) as error:
        raise FileFormatError(path, "", f"is not a safetensors file ({error}).") from error


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
