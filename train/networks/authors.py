"""The PONAS authors' checkpoints, PONAS-A, -B and -C: their key layout, read, checked and converted.

Source: the layout of the model definitions that the authors published (github.com/eric8607242/PONAS,
`models/PONAS_{A,B,C}.py`). They published no weights that could be had when this was written: the reader
was tested on files of that layout with random weights, 412 tensors in A and B, 416 in C.

    first.{conv,bn}                          stem.conv
    stages.0.block.<part>                    stem.<part>
    stages.<l>.block.<part>                  layers.<l>.<part>          l from 1 to 19
      point_wise, depthwise, point_wise_1      expand, depthwise, project (conv and bn each)
      se.operation.1, se.operation.3           se.reduce, se.expand
    stages.last.0, stages.last.1             head.conv (conv, then bn)
    classifier.1                             head.classifier

The count of batches that each batch norm keeps there is not needed, and may be missing.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ponas_deploy.errors import FileFormatError, WeightsError
from ponas_deploy.files.weights import Arrays, write_weights
from searchspace import Architecture, Layer, build_space
from searchspace.ops import Op, parameters
from train.networks.weights import to_arrays

SPACE, RESOLUTION = "ponas", 224
# Training here and there normalised with ImageNet's mean and deviation (the authors' `config.yml`).
_MEAN, _STD = "0.485,0.456,0.406", "0.229,0.224,0.225"

_PARTS = {
    "expand": "point_wise",
    "depthwise": "depthwise",
    "project": "point_wise_1",
    "se.reduce": "se.operation.1",
    "se.expand": "se.operation.3",
}
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema", "model_ema", "ema")
_PREFIXES = ("module.", "_orig_mod.", "model.")  # what torch's DataParallel, compile and trainers put before
_SHOWN, _NESTED = 3, 4

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network of the authors' layout, in ours: `name` is PONAS-A, -B or -C, empty for another network."""

    architecture: Architecture
    tensors: Arrays
    name: str

    @property
    def metadata(self) -> dict[str, str]:
        """The header of its weights file."""
        space = self.architecture.space
        return {
            "layout": "network",
            "space": space.name,
            "fingerprint": space.fingerprint,
            "resolution": str(space.resolution),
            "classes": str(space.classes),
            "mean": _MEAN,
            "std": _STD,
            "resize_px": str(round(space.resolution * 8 / 7)),
            "choices": self.architecture.text,
            "source": f"a checkpoint in the layout of the PONAS authors ({self.name or 'another network'})",
        }


def convert(path: Path, target: Path) -> Checkpoint:
    """Read a checkpoint and write it as safetensors in the layout of a network, over an older file."""
    checkpoint = read_checkpoint(path)
    write_weights(target, checkpoint.tensors, checkpoint.metadata)
    return checkpoint


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a `.pth` with weights-only loading; which network it is, is read from the tensors' shapes.

    Raises FileFormatError for a file that is no plain state dict, WeightsError that names the missing,
    extra and wrongly shaped keys.
    """
    found = _state_dict(path)
    architecture = recognised({key: tuple(tensor.shape) for key, tensor in found.items()})
    wanted = dict(keys(architecture))
    _check(path, architecture, {key: shape for key, (shape, _) in wanted.items()}, found)
    tensors = to_arrays({ours: found[key] for key, (_, ours) in wanted.items() if ours})
    return Checkpoint(architecture, tensors, _name(architecture))


def keys(architecture: Architecture) -> Iterator[tuple[str, tuple[Shape, str]]]:
    """Every key the authors' model of this architecture has: its shape, and our name ("" where unused)."""
    for prefix, ops in architecture.parts():
        yield from _keys(prefix, ops)


def _keys(prefix: str, ops: tuple[Op, ...]) -> Iterator[tuple[str, tuple[Shape, str]]]:
    for parameter in parameters(ops, prefix):
        part, _, role = parameter.name[len(prefix) + 1 :].rpartition(".")
        key = f"{_module(prefix, part)}.{role}"
        yield key, (parameter.shape, parameter.name)
        if parameter.role == "norm_var":
            yield key.replace("running_var", "num_batches_tracked"), ((), "")


def _module(prefix: str, part: str) -> str:
    """Our module `part` below `prefix` ("stem", "expand.norm") in their words."""
    place, _, kind = part.rpartition(".") if part.endswith((".conv", ".norm")) else (part, "", "")
    if prefix == "head":
        return {"conv": "stages.last.0", "norm": "stages.last.1"}.get(kind, "classifier.1")
    inside = {"conv": ".conv", "norm": ".bn"}.get(kind, "")
    if (prefix, place) == ("stem", "conv"):
        return f"first{inside}"
    stage = "0" if prefix == "stem" else prefix.removeprefix("layers.")
    return f"stages.{stage}.block.{_PARTS[place]}{inside}"


def recognised(shapes: Mapping[str, Shape]) -> Architecture:
    """The network whose keys and shapes come closest: in every layer the candidate with the fewest faults."""
    classes = next(iter(shapes.get("classifier.1.bias", ())), 1000)
    space = build_space(SPACE, RESOLUTION, max(classes, 1))
    return Architecture(space, tuple(_closest(layer, shapes) for layer in space.layers))


def _closest(layer: Layer, shapes: Mapping[str, Shape]) -> str:
    inside = f"stages.{layer.name}."
    found = {(key, shape) for key, shape in shapes.items() if key.startswith(inside)}

    def faults(label: str) -> int:
        ops = layer.candidate(label).ops
        return len(found ^ {(key, shape) for key, (shape, _) in _keys(f"layers.{layer.name}", ops)})

    return min(layer.labels, key=faults)


def _check(
    path: Path, architecture: Architecture, wanted: Mapping[str, Shape], found: Mapping[str, Tensor]
) -> None:
    missing = [key for key in wanted if key not in found and not key.endswith("num_batches_tracked")]
    extra = [key for key in found if key not in wanted]
    wrong = [
        f"{key} {tuple(found[key].shape)} instead of {shape}"
        for key, shape in wanted.items()
        if key in found and tuple(found[key].shape) != shape
    ]
    broken = [key for key, tensor in found.items() if not bool(torch.isfinite(tensor).all())]
    faults = {
        "lacks": missing,
        "has too much": extra,
        "has wrong shapes": wrong,
        "has NaN or infinity in": broken,
    }
    texts = [f"{what} {_few(names)}" for what, names in faults.items() if names]
    if texts:
        raise WeightsError(
            f"{path} is not a checkpoint of the PONAS authors' layout; against the network closest to it"
            f" ({_name(architecture) or architecture.text}) it {'; it '.join(texts)}."
        )


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _name(architecture: Architecture) -> str:
    return next((name for name, text in architecture.space.published if text == architecture.text), "")


def _state_dict(path: Path) -> dict[str, Tensor]:
    loaded = _loaded(path)
    for _ in range(_NESTED):  # bounded: a file can hold itself
        wrapper = _wrapper(loaded)
        loaded = loaded if wrapper is None else loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded:
        raise FileFormatError(path, "", "holds no state dict: tensors by name are needed.")
    other = next((key for key, value in loaded.items() if not isinstance(value, Tensor)), None)
    if other is not None:
        raise FileFormatError(path, str(other), "is no tensor: a plain state dict is needed.")
    return _stripped({str(key): tensor for key, tensor in loaded.items()})


def _wrapper(loaded: object) -> str | None:
    """The key that the tensors lie under; the plain ones before averaged ones (EMA)."""
    if not isinstance(loaded, Mapping):
        return None
    return next((key for key in _WRAPPERS if isinstance(loaded.get(key), Mapping)), None)


def _stripped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without what wrappers of the module put before every key, however often."""
    for prefix in _PREFIXES * 2:
        while all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _loaded(path: Path) -> Any:
    """What a `.pth` holds; nothing in it is executed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old or foreign files, which are refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise FileFormatError(path, "", "there is no such file.") from error
    except pickle.UnpicklingError as error:
        raise FileFormatError(path, "", _unreadable(error)) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise FileFormatError(path, "", f"is not a torch checkpoint ({type(error).__name__}).") from error


def _unreadable(error: Exception) -> str:
    """Why a file was refused: what it holds beside tensors, by name where torch tells it."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found is None:
        return "holds more than tensors, or is no torch checkpoint: only plain state dicts are read."
    return (
        f"holds more than tensors ({found[1]}), and only plain state dicts are read: where you trust it,"
        f' save the tensors alone, `torch.save(torch.load(FILE, weights_only=False)["state_dict"], NEW)`.'
    )
