"""Weights in files: safetensors with a header that says what they belong to. No torch.

Tensors are named as in `searchspace.weights`, in the layout of a network or of a supernet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.errors import FileFormatError, WeightsError
from ponas_deploy.files import class_names
from ponas_deploy.files.contents import weights_contents
from ponas_deploy.files.records import write_bytes
from searchspace.architecture import Architecture
from searchspace.elastic import ELASTIC, candidates_of
from searchspace.spaces import build_space
from searchspace.weights import Weights, inherit

FORMAT = "ponas.weights/1"

Arrays = dict[str, NDArray[np.float32]]

_FLOATS, _HALF, _COUNT = ("F16", "F32", "F64"), "BF16", "I64"
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """Tensors by name, and the header: `layout`, `space`, `resolution`, `classes`, `data`, `seed`, ...

    `path` is the file that was named, `converted_to` the one in our format that was made of it, where it is
    of another. `shared` are the tensors of an elastic supernet as it holds them (`searchspace.elastic`), else
    nothing.
    """

    path: Path
    tensors: Arrays
    metadata: dict[str, str]
    converted_to: Path | None = None
    shared: Arrays = field(default_factory=dict)

    @property
    def stored(self) -> Path:
        """The safetensors file that holds the tensors."""
        return self.converted_to or self.path

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, in the order of the outputs; empty where the file does not say.

        FileFormatError for names that are none, or not as many as there are classes.
        """
        text = self.metadata.get(class_names.KEY, "")
        found = class_names.read(text, self.path) if text else ()
        return class_names.checked(found, self.number("classes"), self.path)

    @property
    def supernet(self) -> bool:
        """Whether the file holds every candidate."""
        return self.elastic or self.metadata.get("layout") == "supernet"

    @property
    def elastic(self) -> bool:
        """Whether its candidates share their weights (Once-for-all): the tensors are views of those."""
        return self.metadata.get("layout") == ELASTIC

    def inherited(self, architecture: Architecture) -> Weights:
        """The weights of a network, its own or a supernet's for its choices; nothing is copied.

        WeightsError names the file and what is missing, too much or of another shape.
        """
        try:
            return inherit(self.tensors, architecture)
        except WeightsError as error:
            raise WeightsError(f"{self.path}: {error}") from error

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
    """Read a safetensors file, ours or another's, as float32; FileFormatError when it is none.

    Tensors of another type than 16 to 64 bit floats (bfloat16 among them) are refused by name, but for whole
    numbers without dimensions, which count something.
    """
    with _opened(path) as file:
        tensors = {name: _floats(path, file, name) for name in file.keys()}  # noqa: SIM118
        found = WeightsFile(path, tensors, dict(file.metadata() or {}))
    return replace(found, tensors=_candidates(found), shared=found.tensors) if found.elastic else found


def _candidates(file: WeightsFile) -> Arrays:
    """The tensors of every candidate of an elastic supernet."""
    space = build_space(file.metadata.get("space", ""), classes=file.number("classes") or 1000)
    try:
        return candidates_of(file.tensors, space)
    except WeightsError as error:
        raise WeightsError(f"{file.path}: {error}") from error


def read_header(path: Path) -> dict[str, str]:
    """The header of a safetensors file without its tensors; FileFormatError when it is none."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


def not_finite(tensors: Arrays) -> list[str]:
    """The names of tensors that hold NaN or infinity."""
    return [name for name, array in tensors.items() if not np.isfinite(array).all()]


def _floats(path: Path, file: Any, name: str) -> NDArray[np.float32]:
    stored = file.get_slice(name)
    kind = stored.get_dtype()
    if kind == _HALF:
        return _bfloat16(path, name)
    if kind not in _FLOATS and not (kind == _COUNT and not stored.get_shape()):
        raise FileFormatError(path, short_name(name), f"holds {kind}, expected float32: save it as float32.")
    return np.asarray(file.get_tensor(name), np.float32)


def _bfloat16(path: Path, name: str) -> NDArray[np.float32]:
    """A tensor of bfloat16, which NumPy does not know: the upper half of each float32."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
        begin, end = entry["data_offsets"]
        file.seek(8 + length + begin)
        upper = np.frombuffer(file.read(end - begin), "<u2")
    return (upper.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


def short_name(name: str) -> str:
    """The name of a tensor in a message."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    contents = weights_contents(path)
    if contents != "safetensors":
        reason = "is a torch checkpoint, expected a safetensors file such as training writes."
        raise FileFormatError(path, "", reason)
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise FileFormatError(
            path, "", f"is a safetensors file that is cut off or broken ({error})."
        ) from error
