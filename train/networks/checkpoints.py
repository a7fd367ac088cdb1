"""Tensors out of a torch checkpoint that somebody else wrote: weights-only, whatever they are wrapped in.

Nothing in the file is executed, and no more memory is taken than it has bytes: a tensor that claims more than
the file holds, or is no dense one of floats, is refused by its name.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.contents import weights_contents
from ponas_deploy.files.weights import short_name

_PLAIN = ("state_dict", "model_state_dict", "model", "net", "network", "module", "params", "weights")
_AVERAGED = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema", "params_ema")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NESTED = 4


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors of a checkpoint by name; `taken` is the key that they lie under, `averaged` the key of an
    exponential moving average (EMA) of them that was left there. Both may be empty.
    """

    tensors: dict[str, Tensor]
    taken: str
    averaged: str

    @property
    def remark(self) -> str:
        """Which of plain and averaged tensors were taken, for people; empty without averaged ones."""
        if self.averaged:
            return (
                f"the file holds averaged weights (EMA) too, under {self.averaged!r}; those under"
                f" {self.taken!r} were taken: for the averaged ones,"
                f" `torch.save(torch.load(FILE)[{self.averaged!r}], NEW)`"
            )
        averaged_alone = self.taken in _AVERAGED
        return f"the averaged weights (EMA) under {self.taken!r} were taken" if averaged_alone else ""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `torch.save` wrote, with weights-only loading.

    The plain tensors are taken where averaged ones lie beside them, as training itself goes on with them.
    Raises FileFormatError for a file that holds other things than dense tensors of floats by name.
    """
    state, taken, averaged = _unwrapped(_loaded(path))
    if not isinstance(state, Mapping) or not state:
        raise FileFormatError(path, taken, "holds no state dict: tensors by name are needed.")
    for name, value in state.items():
        if fault := _fault(name, value):
            raise FileFormatError(path, short_name(str(name)), fault)
    return Checkpoint(dict(state), taken, averaged)


def _unwrapped(loaded: Any) -> tuple[Any, str, str]:
    """The innermost state, the key that it lies under, and the key of averaged tensors beside it."""
    taken = averaged = ""
    for _ in range(_NESTED):  # bounded: a file can hold itself
        if not isinstance(loaded, Mapping) or not (key := _wrapper(loaded)):
            break
        beside = (other for other in _AVERAGED if other != key and isinstance(loaded.get(other), Mapping))
        averaged = next(beside, averaged)
        loaded, taken = loaded[key], key
    return loaded, taken, averaged


def _wrapper(loaded: Mapping[Any, Any]) -> str:
    """The key that a state lies under: a usual one, plain before averaged, or the only one with tensors."""
    usual = (key for key in (*_PLAIN, *_AVERAGED) if isinstance(loaded.get(key), Mapping))
    if key := next(usual, ""):
        return key
    states = [key for key, value in loaded.items() if isinstance(key, str) and _is_state(value)]
    return states[0] if len(states) == 1 else ""


def _is_state(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(v, Tensor) for v in value.values())


def _fault(name: object, value: object) -> str:
    """Why a value of a state is of no use; empty for a dense tensor of floats that the file holds whole."""
    if not isinstance(value, Tensor) or not isinstance(name, str):
        return "is no tensor: a plain state dict is needed."
    if kind := _kind(value):
        return f"is {kind}, expected a dense float32 tensor: save it as one."
    claimed, held = value.numel() * value.element_size(), value.untyped_storage().nbytes()
    if claimed > held:
        return (
            f"claims {claimed:,} bytes of values and the file holds {held:,} of them (a view that was"
            " expanded): save it with .clone()."
        )
    return ""


def _kind(tensor: Tensor) -> str:
    """What a tensor is, when it is no dense one of floats on the CPU, nor a count."""
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.is_quantized:
        return f"quantised ({_word(tensor.dtype)})"
    if tensor.device.type != "cpu":
        return f"without values (on device {tensor.device.type})"
    if tensor.layout != torch.strided:
        return f"sparse ({_word(tensor.layout)})"
    counts = tensor.dtype == torch.int64 and tensor.dim() == 0
    return "" if counts or tensor.dtype in _FLOATS else f"of {_word(tensor.dtype)}"


def _word(value: object) -> str:
    return str(value).removeprefix("torch.")


def _loaded(path: Path) -> Any:
    """What a checkpoint holds; nothing in it is executed."""
    contents = weights_contents(path)
    if contents == "safetensors":
        raise FileFormatError(path, "", "is a safetensors file, expected a torch checkpoint.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old or foreign files, which are refused below
            # Mapped, so that a storage ends where its file does, whatever size the file claims for it.
            mapped = contents == "checkpoint"
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UnpicklingError as error:
        raise FileFormatError(path, "", _unreadable(error)) from error
    except Exception as error:  # an unpickler of bytes that anybody wrote may raise anything
        reason = f"is a torch checkpoint that torch cannot read ({type(error).__name__}):"
        advice = "it is cut off, broken, or holds tensors of an unusual kind."
        raise FileFormatError(path, "", f"{reason} {advice}") from error


def _unreadable(error: UnpicklingError) -> str:
    """Why a file was refused: what it holds beside tensors, by name where torch tells it."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found is None:
        return "is a pickle of other things than tensors by name: only plain state dicts are read."
    return (
        f"holds more than tensors ({found[1]}), and only plain state dicts are read: if you trust where it"
        " came from, save the tensors alone,"
        ' `torch.save(torch.load(FILE, weights_only=False)["state_dict"], NEW)` (or the key they lie'
        " under, or .state_dict() of a whole module)."
    )
