"""Weights in files: safetensors with a header that says what they belong to. No torch.

Tensors are named as in `searchspace.weights`, in the layout of a network or of a supernet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.opening import check_regular
from ponas_deploy.files.records import write_bytes

FORMAT = "ponas.weights/1"

Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """Tensors by name, and the header: `layout`, `space`, `resolution`, `classes`, `data`, `seed`, ...

    `path` is the file that was named, `converted_to` the one in our format that was made of it, where it is
    of another.
    """

    path: Path
    tensors: Arrays
    metadata: dict[str, str]
    converted_to: Path | None = None

    @property
    def stored(self) -> Path:
        """The safetensors file that holds the tensors."""
        return self.converted_to or self.path

    @property
    def supernet(self) -> bool:
        """Whether the file holds every candidate."""
        return self.metadata.get("layout") == "supernet"

    def number(self, key: str) -> int | None:
        """A whole number of the header, None where the file does not say."""
        text = self.metadata.get(key, "")
        return int(text) if re.fullmatch("[0-9]{1,15}", text) else None


def write_weights(
    path: Path, tensors: Mapping[str, NDArray[np.float32]], metadata: Mapping[str, str]
) -> None:
    """Write tensors, over an older file of that name; PonasError when the disk refuses."""
    from safetensors.numpy import save

    write_bytes(path, save(dict(tensors), {"format": FORMAT, **metadata}), overwrite=True)


def read_weights(path: Path) -> WeightsFile:
    """Read a safetensors file, ours or another's; FileFormatError when it is none."""
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return WeightsFile(path, tensors, dict(file.metadata() or {}))


def read_header(path: Path) -> dict[str, str]:
    """The header of a safetensors file without its tensors; FileFormatError when it is none."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    check_regular(path)
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise FileFormatError(path, "", f"is not a safetensors file ({error}).") from error
