"""Anybody's ONNX model from its file, with every size of its inputs fixed, so that it can be timed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.bounds import Batch, bounds_of, fault
from ponas_deploy.files.opening import check_regular

MOST_MODEL_BYTES = 2 << 30
"""What one protobuf message may hold; weights beside the file count too."""


@dataclass(frozen=True, slots=True)
class FixedModel:
    """A model whose inputs have fixed sizes: its bytes, the images of one run, and each input in words."""

    data: bytes
    batch: int
    inputs: tuple[str, ...]


def fixed_model(path: Path, sizes: Mapping[str, int], batch: int | None = None) -> FixedModel:
    """The model of a file. The first size of an input is the batch, 1 where it is open and none is given.

    `sizes` are those of other open sizes, by the name that the model gives them or by `input:axis`.
    FileFormatError for what is no ONNX model, PonasError for a size that stays open, for a name that is no
    open size, and for a batch that the model does not take.
    """
    (found,) = fixed_models([path], sizes, batch)
    return found


def fixed_models(
    paths: Sequence[Path], sizes: Mapping[str, int], batch: int | None = None
) -> list[FixedModel]:
    """The same of several files: each of `sizes` must be an open size of one of them."""
    given = {name: _checked(name, size) for name, size in sizes.items()}
    used = set[str]()
    found = [_fixed(path, given, batch, used) for path in paths]
    if unknown := [name for name in given if name not in used]:
        lacks = f"{paths[0]} has no" if len(paths) == 1 else "none of the models has an"
        raise PonasError(f"{lacks} open size '{unknown[0]}' in its inputs: leave that --size out.")
    return found


def _fixed(path: Path, given: Mapping[str, int], batch: int | None, used: set[str]) -> FixedModel:
    """One of them; the names of `given` that are open sizes of it are added to `used`."""
    model = _loaded(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in weights]
    symbols, left = dict[str, int](), dict[str, None]()
    for one, axis, size in _open_sizes(inputs):
        names = [name for name in (size.dim_param, f"{one.name}:{axis}") if name]
        chosen = next((name for name in names if name in given), None)
        if chosen is not None:
            used.add(chosen)
        value = given[chosen] if chosen is not None else (batch or 1) if axis == 0 else symbols.get(names[0])
        if value is None:
            left[names[0]] = None
            continue
        if size.dim_param:
            symbols[size.dim_param] = value
        size.dim_value = value
    if left:
        asked = " ".join(f"--size {name}=N" for name in left)
        raise PonasError(f"{path} leaves sizes of its inputs open: give them with {asked}.")
    _fix_outputs(model, symbols)
    return FixedModel(_bytes(model, path), _batch(inputs, batch, path), tuple(map(_in_words, inputs)))


def _loaded(path: Path) -> Any:
    import onnx

    check_regular(path, MOST_MODEL_BYTES)
    try:
        model = onnx.load(str(path), load_external_data=False)
        for weights in _beside(model, path.parent):
            check_regular(weights, MOST_MODEL_BYTES)
        onnx.load_external_data_for_model(model, str(path.parent))
    except PonasError:
        raise
    except Exception as error:  # protobuf's own errors share no base class that onnx hands on
        why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise FileFormatError(
            path, "", f"is no ONNX model that can be read ({why}): export it again."
        ) from error
    if not model.graph.node or not model.graph.output:
        raise FileFormatError(path, "", "is no ONNX model: it holds no graph.")
    return model


def _beside(model: Any, folder: Path) -> Iterator[Path]:
    """The files in which a model says that its weights lie."""
    for tensor in model.graph.initializer:
        if tensor.data_location == tensor.EXTERNAL:
            yield folder / next((one.value for one in tensor.external_data if one.key == "location"), "")


def _checked(name: str, size: int) -> int:
    if reason := fault(Batch, size):
        raise PonasError(f"the size {name} {reason}")
    return size


def _open_sizes(inputs: list[Any]) -> Iterator[tuple[Any, int, Any]]:
    for one in inputs:
        for axis, size in enumerate(one.type.tensor_type.shape.dim):
            if size.dim_value < 1:
                yield one, axis, size


def _fix_outputs(model: Any, symbols: Mapping[str, int]) -> None:
    """The same sizes in the outputs; what was inferred for the values between is inferred anew."""
    del model.graph.value_info[:]
    for one in model.graph.output:
        for size in one.type.tensor_type.shape.dim:
            if size.dim_param in symbols:
                size.dim_value = symbols[size.dim_param]


def _bytes(model: Any, path: Path) -> bytes:
    try:
        data: bytes = model.SerializeToString()
    except ValueError as error:
        most = f"{MOST_MODEL_BYTES >> 30} GiB"
        raise PonasError(f"{path} holds more than {most} with its weights, which is not timed.") from error
    return data


def _batch(inputs: list[Any], asked: int | None, path: Path) -> int:
    """The first size of the first input that has one; PonasError where another batch was asked for."""
    shapes = [one.type.tensor_type.shape.dim for one in inputs]
    found = next((shape[0].dim_value for shape in shapes if len(shape)), 1)
    if asked is not None and asked != found:
        raise PonasError(f"{path} takes a batch of {found}, not {asked}: give --batch {found}.")
    most = bounds_of(Batch)[1]
    return int(min(found, most or found))


def _in_words(one: Any) -> str:
    import onnx

    kind = onnx.helper.tensor_dtype_to_np_dtype(one.type.tensor_type.elem_type)
    sizes = " x ".join(str(size.dim_value) for size in one.type.tensor_type.shape.dim)
    return f"{one.name}: {kind} {sizes}"
