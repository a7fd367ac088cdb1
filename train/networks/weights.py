"""Weights between torch and the arrays of a weights file (`ponas_deploy.files.weights`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ponas_deploy.errors import WeightsError
from ponas_deploy.files import class_names
from ponas_deploy.files.normalisation import Normalisation
from ponas_deploy.files.weights import Arrays, WeightsFile
from searchspace import Space
from searchspace.space import HEAD
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
        **Normalisation(splits.mean, splits.std, splits.channel_order).header,
        "resize_px": str(splits.resize_px or space.resolution),
        "crop_px": str(space.resolution),
        "seed": str(seed),
        **({"style": splits.style} if splits.style else {}),
        **({class_names.KEY: class_names.written(splits.class_names)} if splits.class_names else {}),
    }


def to_arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    """Tensors on any device and in any layout as float32 arrays."""
    return {
        name: tensor.detach().to("cpu", torch.float32).contiguous().numpy()
        for name, tensor in tensors.items()
    }


def load_arrays(module: nn.Module, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy arrays into a module; WeightsError names what is missing, too much or of another shape."""
    refuse_other_tensors(module.state_dict(), arrays)
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})


def refuse_other_tensors(wanted: Mapping[str, Tensor], arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """WeightsError names the first of `arrays` that is missing, too much or of another shape."""
    for name in [*wanted, *arrays]:
        if name not in arrays:
            raise WeightsError(f"the weights lack '{name}' of shape {tuple(wanted[name].shape)}.")
        if name not in wanted:
            raise WeightsError(f"the weights hold '{name}', which this network does not have.")
        found, shape = arrays[name].shape, tuple(wanted[name].shape)
        if found != shape:
            raise WeightsError(f"'{name}' has shape {found} in the weights, the network needs {shape}.")


def refuse_other_images(file: WeightsFile, splits: Splits) -> None:
    """WeightsError when a weights file is for other classes, in another order too, or another resolution."""
    _refuse_other_names(file, splits)
    order = file.metadata.get("channel_order", splits.channel_order)
    if order != splits.channel_order:
        raise WeightsError(
            f"{file.path} takes images in {order}, and those of {splits.name} are in"
            f" {splits.channel_order}: name a folder of images, which are prepared as the weights want them."
        )
    classes = file.number("classes") or _classes(file)
    if classes not in (None, splits.classes):
        raise WeightsError(
            f"{file.path} tells {classes} classes apart, but {splits.name} has {splits.classes}:"
            f" name the images it was made for{_or_transfer(file)}."
        )
    resolution = file.number("resolution")
    if resolution not in (None, splits.resolution):
        raise WeightsError(
            f"{file.path} is for {resolution} px, but {splits.name} has {splits.resolution} px:"
            f" ask for --resolution {resolution}."
        )


def _refuse_other_names(file: WeightsFile, splits: Splits) -> None:
    """WeightsError names the classes of only one side; where one of them has no names, nothing is known."""
    ours, theirs = file.class_names, splits.class_names
    if not ours or not theirs or ours == theirs:
        return
    if text := class_names.difference(ours, theirs, str(file.path), splits.name):
        raise WeightsError(
            f"the classes differ, {text}: name images of the classes it was trained on{_or_transfer(file)}."
        )
    raise WeightsError(
        f"{file.path} numbers the classes of {splits.name} in another order: name files of one run."
    )


def _or_transfer(file: WeightsFile) -> str:
    return ", or fit it to these: `ponas train transfer`" if file.elastic else ""


def _classes(file: WeightsFile) -> int | None:
    """The classes of a file whose header does not name them: the rows of its head's last matrix."""
    inside = (array for name, array in file.tensors.items() if name.startswith(f"{HEAD}."))
    matrices = [array for array in inside if array.ndim == 2]
    return len(matrices[-1]) if matrices else None
