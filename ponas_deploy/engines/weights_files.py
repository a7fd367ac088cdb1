"""A file that was given for weights, as one in our format: what it is, is told by its content.

Safetensors of ours are read as they are. Weights in the PONAS authors' layout or in one of Once-for-all's, in
safetensors or in a torch checkpoint (whatever its name ends in), are converted once, into the user's store,
and are a file of ours from there on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from ponas_deploy.errors import FileFormatError, MissingExtraError, WeightsError
from ponas_deploy.files.contents import weights_contents
from ponas_deploy.files.home import home
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
from searchspace.authors import SPACE, AuthorsNetwork, authors_network, is_authors_layout
from searchspace.elastic import ELASTIC
from searchspace.ofa_authors import finished, is_ofa_layout, ofa_network
from searchspace.ops import parameters
from searchspace.space import STEM
from searchspace.spaces import SPACES, build_space

# Training here and there normalised with ImageNet's mean and deviation (the authors' `config.yml`).
_MEAN, _STD = "0.485,0.456,0.406", "0.229,0.224,0.225"
_REMARK = "remark"
_RESIZE_RATIO = "0.875"
"""Of Once-for-all's resolution to the side that its centre is cut from, at any resolution."""

Read: TypeAlias = Callable[[Path], tuple[AuthorsNetwork[Any], Arrays, str]]
"""The network of a file in the authors' layout, its tensors by our names, and a remark on the file."""


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
    if is_authors_layout(file.tensors) or is_ofa_layout(file.tensors):
        return _converted(path, _from_safetensors, on_note)
    _refuse_not_finite(path, not_finite(file.tensors))
    if "space" in file.metadata or not (space := _space_of(file.tensors)):
        return file
    return replace(file, metadata={**file.metadata, "space": space})


def _space_of(tensors: Arrays) -> str:
    """The first known space whose layers tensors are called after and whose stem is as wide; else empty."""
    layers = {".".join(name.split(".")[:2]) for name in tensors if name.startswith("layers.")}
    for name in SPACES:
        space = build_space(name)
        stem = [one for one in parameters(space.stem, STEM) if one.name in tensors]
        same = stem and all(tensors[one.name].shape == one.shape for one in stem)
        if same and layers and layers <= set(map(layer_prefix, space.layers)):
            return name
    return ""


def has_torch() -> bool:
    """Whether torch is installed; it is not loaded."""
    return find_spec("torch") is not None


def _converted(path: Path, read: Read, on_note: OnNote) -> WeightsFile:
    """A file of another layout as one in the user's store, where it lies under its own hash."""
    target = home() / "weights" / f"{slug(path.stem)}-{sha256(path)[:12]}.safetensors"
    file = _kept(target)
    if file is None:
        network, tensors, remark = read(path)
        _refuse_not_finite(path, [network.theirs[name] for name in not_finite(tensors)])
        if network.architecture.space.name != SPACE:
            tensors = finished(network, tensors)
        write_weights(target, tensors, _header(network, remark))
        on_note(f"{path} is {_what(network)} in its authors' layout; converted to {target}")
        file = read_weights(target)
    if _REMARK in file.metadata:
        on_note(f"{path}: {file.metadata[_REMARK]}")
    return replace(file, path=path, converted_to=target)


def _kept(target: Path) -> WeightsFile | None:
    """What was converted before; None where there is nothing, or a broken file, which is written again."""
    with suppress(FileFormatError):
        return read_weights(target)
    return None


def _from_checkpoint(path: Path) -> tuple[AuthorsNetwork[Any], Arrays, str]:
    if not has_torch():
        raise MissingExtraError("torch, which reading a checkpoint needs,", "train")
    from train.networks import read_checkpoint, to_arrays

    checkpoint = read_checkpoint(path)
    read = ofa_network if is_ofa_layout(checkpoint.tensors) else authors_network
    found = read(str(path), checkpoint.tensors)
    arrays = to_arrays(found.tensors)  # of these alone: a file may hold more than fits into memory as float32
    return found, arrays, checkpoint.remark


def _from_safetensors(path: Path) -> tuple[AuthorsNetwork[Any], Arrays, str]:
    tensors = read_weights(path).tensors
    read = ofa_network if is_ofa_layout(tensors) else authors_network
    found = read(str(path), tensors)
    return found, found.tensors, ""


def _what(network: AuthorsNetwork[Any]) -> str:
    space = network.architecture.space.name
    if network.supernet:
        return f"the supernet of space '{space}'"
    return network.name or (
        f"a network of space '{space}'" if space != SPACE else "a network of the PONAS space"
    )


def _header(network: AuthorsNetwork[Any], remark: str) -> dict[str, str]:
    """The header of a converted file: what a reader must know to use it.

    Once-for-all's are of any resolution.
    """
    space = network.architecture.space
    remarks = "; ".join(filter(None, (network.remark, remark)))
    sizes = {"resize_ratio": _RESIZE_RATIO}
    source = f"a checkpoint in the layout of Once-for-all's authors ({space.name})"
    if space.name == SPACE:
        sizes = {
            "resolution": str(space.resolution),
            "resize_px": str(round(space.resolution * 8 / 7)),
            "crop_px": str(space.resolution),
        }
        source = f"a checkpoint in the layout of the PONAS authors ({network.name or 'another network'})"
    return {
        "layout": ELASTIC if network.supernet else "network",
        "space": space.name,
        "fingerprint": space.fingerprint,
        **sizes,
        "classes": str(space.classes),
        "mean": _MEAN,
        "std": _STD,
        "channel_order": "RGB",
        **({} if network.supernet else {"choices": network.architecture.text}),
        "source": source,
        **({_REMARK: remarks} if remarks else {}),
    }


def _refuse_not_finite(path: Path, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise WeightsError(
            f"{path} has NaN or infinity in {short_name(names[0])}{more}: its training diverged."
        )
