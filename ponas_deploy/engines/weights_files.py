"""A file that was given for weights, as one in our format: what it is, is told by its content.

Safetensors of ours are read as they are. Weights in the layout of another project (`_FAMILIES`), in
safetensors or in a torch checkpoint (whatever its name ends in), are converted once, into the user's store,
and are a file of ours from there on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ponas_deploy.errors import FileFormatError, MissingExtraError, WeightsError
from ponas_deploy.files.contents import weights_contents
from ponas_deploy.files.home import home
from ponas_deploy.files.normalisation import BGR_BYTES, IMAGENET
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.records import sha256
from ponas_deploy.files.weights import (
    Arrays,
    WeightsFile,
    not_finite,
    read_weights,
    short_name,
    write_weights,
)
from ponas_deploy.machines.names import slug
from searchspace.architecture import layer_prefix
from searchspace.authors import AuthorsNetwork, authors_network, is_authors_layout
from searchspace.mmrazor import is_mmrazor_layout, mmrazor_network
from searchspace.ofa_authors import finished, is_ofa_layout, ofa_network
from searchspace.ops import parameters
from searchspace.space import STEM, Space
from searchspace.spaces import SPACES, build_space
from searchspace.spos_authors import is_spos_authors_layout, spos_authors_network

_IMAGENET = IMAGENET.header
_BGR_BYTES = {**BGR_BYTES.header, "style": "spos-authors"}
_AT_224 = {"resolution": "224", "resize_px": "256", "crop_px": "224"}
_REMARK = "remark"


@dataclass(frozen=True, slots=True)
class _Family:
    """A layout of another project: whether names are of it, how it is read, whose it is.

    `images` is what the header says of a network's input. `finished` makes our tensors of theirs, which are
    arrays by our names.
    """

    has: Callable[[Iterable[str]], bool]
    read: Callable[[str, Mapping[str, Any]], AuthorsNetwork[Any]]
    whose: str
    images: Mapping[str, str]
    finished: Callable[[AuthorsNetwork[Any], Arrays], Arrays]


def _filled(network: AuthorsNetwork[Any], arrays: Arrays) -> Arrays:
    return arrays | {name: np.full(shape, value, np.float32) for name, (shape, value) in network.fill.items()}


_FAMILIES = (
    # Once-for-all's are of any resolution: this is the part of a side that its centre is cut from.
    _Family(
        is_ofa_layout,
        ofa_network,
        "Once-for-all's authors",
        {**_IMAGENET, "resize_ratio": "0.875"},
        finished,
    ),
    _Family(is_mmrazor_layout, mmrazor_network, "MMRazor", {**_IMAGENET, **_AT_224}, _filled),
    _Family(
        is_spos_authors_layout, spos_authors_network, "the SPOS authors", {**_BGR_BYTES, **_AT_224}, _filled
    ),
    _Family(is_authors_layout, authors_network, "the PONAS authors", {**_IMAGENET, **_AT_224}, _filled),
)
Read: TypeAlias = Callable[[Path], tuple[_Family, AuthorsNetwork[Any], Arrays, str]]
"""The family of a file, its network, its tensors by our names, and a remark on the file."""


def read_file(path: Path, on_note: OnNote = no_note) -> WeightsFile:
    """The weights of a file; `on_note` hears what it was converted from, and what was left out.

    A file whose header names no space is of the one that its tensors tell, where they tell any.
    Raises FileFormatError for a file of another kind, or with tensors that are no floats, WeightsError for
    a checkpoint of another layout and for tensors with NaN or infinity, MissingExtraError for a torch
    checkpoint without torch. All of them name the file that was given.
    """
    if weights_contents(path) != "safetensors":
        return _converted(path, _from_checkpoint, on_note)
    file = read_weights(path)
    if any(family.has(file.tensors) for family in _FAMILIES):
        return _converted(path, _from_safetensors, on_note)
    _refuse_not_finite(path, not_finite(file.tensors))
    if "space" in file.metadata or not (space := _space_of(file.tensors)):
        return file
    return replace(file, metadata={**file.metadata, "space": space})


def _space_of(tensors: Arrays) -> str:
    """The known space whose layers tensors are called after and whose stem is as wide; else empty.

    Of several the one that most tensors fit.
    """
    spaces = [space for name in SPACES if _has_same_names(space := build_space(name), tensors)]
    return max(spaces, key=lambda space: _fitting(space, tensors)).name if spaces else ""


def _has_same_names(space: Space, tensors: Arrays) -> bool:
    layers = {".".join(name.split(".")[:2]) for name in tensors if name.startswith("layers.")}
    stem = [one for one in parameters(space.stem, STEM) if one.name in tensors]
    same = bool(stem) and all(tensors[one.name].shape == one.shape for one in stem)
    return same and bool(layers) and layers <= set(map(layer_prefix, space.layers))


def _fitting(space: Space, tensors: Arrays) -> int:
    """How many tensors are those of candidates, of a network or a supernet of the space."""
    known = {
        (one.name, one.shape)
        for layer in space.layers
        for candidate in layer.candidates
        for before in (layer_prefix(layer), f"{layer_prefix(layer)}.{candidate.label}")
        for one in parameters(candidate.ops, before)
    }
    return len(known & {(name, tensor.shape) for name, tensor in tensors.items()})


def has_torch() -> bool:
    """Whether torch is installed; it is not loaded."""
    return find_spec("torch") is not None


def _converted(path: Path, read: Read, on_note: OnNote) -> WeightsFile:
    """A file of another layout as one in the user's store, where it lies under its own hash."""
    target = home() / "weights" / f"{slug(path.stem)}-{sha256(path)[:12]}.safetensors"
    file = _kept(target)
    if file is None:
        family, network, tensors, remark = read(path)
        _refuse_not_finite(path, [network.theirs[name] for name in not_finite(tensors)])
        write_weights(target, family.finished(network, tensors), _header(family, network, remark))
        on_note(f"{path} is {_what(network)} in the layout of {family.whose}; converted to {target}")
        file = read_weights(target)
    if _REMARK in file.metadata:
        on_note(f"{path}: {file.metadata[_REMARK]}")
    return replace(file, path=path, converted_to=target)


def _kept(target: Path) -> WeightsFile | None:
    """What was converted before; None where there is nothing, or a broken file, which is written again."""
    with suppress(FileFormatError):
        return read_weights(target)
    return None


def _from_checkpoint(path: Path) -> tuple[_Family, AuthorsNetwork[Any], Arrays, str]:
    if not has_torch():
        raise MissingExtraError("torch, which reading a checkpoint needs,", "train")
    from train.networks import read_checkpoint, to_arrays

    checkpoint = read_checkpoint(path)
    family = _family(checkpoint.tensors)
    found = family.read(str(path), checkpoint.tensors)
    arrays = to_arrays(found.tensors)  # of these alone: a file may hold more than fits into memory as float32
    return family, found, arrays, checkpoint.remark


def _from_safetensors(path: Path) -> tuple[_Family, AuthorsNetwork[Any], Arrays, str]:
    tensors = read_weights(path).tensors
    family = _family(tensors)
    found = family.read(str(path), tensors)
    return family, found, found.tensors, ""


def _family(names: Iterable[str]) -> _Family:
    """The family that tensors of these names are of; the last where they are of none, which says so."""
    names = tuple(names)
    return next((family for family in _FAMILIES if family.has(names)), _FAMILIES[-1])


def _what(network: AuthorsNetwork[Any]) -> str:
    space = network.architecture.space.name
    if network.layout != "network":
        return f"the supernet of space '{space}'"
    return network.name or f"a network of space '{space}'"


def _header(family: _Family, network: AuthorsNetwork[Any], remark: str) -> dict[str, str]:
    """The header of a converted file: what a reader must know to use it."""
    space = network.architecture.space
    remarks = "; ".join(filter(None, (network.remark, remark)))
    which = space.name if network.layout != "network" else network.name or "another network"
    return {
        "layout": network.layout,
        "space": space.name,
        "fingerprint": space.fingerprint,
        **family.images,
        "classes": str(space.classes),
        **({"choices": network.architecture.text} if network.layout == "network" else {}),
        "source": f"a checkpoint in the layout of {family.whose} ({which})",
        **({_REMARK: remarks} if remarks else {}),
    }


def _refuse_not_finite(path: Path, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise WeightsError(
            f"{path} has NaN or infinity in {short_name(names[0])}{more}: its training diverged."
        )
