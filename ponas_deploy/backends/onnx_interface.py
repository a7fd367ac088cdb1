"""What an ONNX model takes and gives, read from its bytes: boards have no package onnx.

Names, types and shapes of its inputs and outputs, and what it says of itself; weights are skipped unread.
Source: field numbers of onnx/onnx.proto, https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Tuple, Union

from ponas_deploy.backends._buffers import static_shape
from ponas_deploy.errors import BackendError

FLOAT, HALF = 1, 10
"""Of TensorProto.DataType."""
Size = Union[int, str]
"""Of one dimension: a number, the name of one that is open, or 0 where nothing is said."""
_Value = Union[int, memoryview]
_Field = Tuple[int, _Value]

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_NODE, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 11, 12
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR, _TENSOR_TYPE, _TENSOR_SHAPE, _SHAPE_SIZE = 1, 1, 2, 1
_SIZE_NUMBER, _SIZE_NAME = 1, 2
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}


@dataclass(frozen=True)
class End:
    """An input or an output; `type` is of TensorProto.DataType."""

    name: str
    type: int
    shape: tuple[Size, ...]

    def static_shape(self, backend: str, what: str) -> tuple[int, ...]:
        """Its shape; BackendError where a size is open."""
        return static_shape(backend, self.shape, what)


@dataclass(frozen=True)
class Interface:
    """The one input and the one output of a model, and its metadata."""

    input: End
    output: End
    metadata: Mapping[str, str]


def read_interface(backend: str, model: bytes) -> Interface:
    """What a model takes and gives; BackendError where it is no ONNX, or has not one input and one output."""
    try:
        nodes, inputs, outputs, metadata = _read(memoryview(model))
    except (IndexError, ValueError) as error:
        raise BackendError(backend, "the model is not ONNX: give the bytes of an .onnx file.") from error
    if len(inputs) != 1 or len(outputs) != 1 or not nodes:
        raise BackendError(
            backend,
            f"the model has {nodes} nodes, {len(inputs)} inputs and"
            f" {len(outputs)} outputs: give one with nodes, one input and one output.",
        )
    return Interface(inputs[0], outputs[0], metadata)


def with_metadata(model: bytes, key: str, value: str) -> bytes:
    """The same model that says one thing more of itself: messages that follow each other are one."""
    entry = _field(_ENTRY_KEY, key.encode()) + _field(_ENTRY_VALUE, value.encode())
    return model + _field(_MODEL_METADATA, entry)


def _read(model: memoryview) -> tuple[int, list[End], list[End], dict[str, str]]:
    nodes = 0
    inputs: list[End] = []
    outputs: list[End] = []
    metadata: dict[str, str] = {}
    for number, value in _fields(model):
        if number == _MODEL_GRAPH:
            for inner, part in _fields(_message(value)):
                nodes += inner == _GRAPH_NODE
                if inner in (_GRAPH_INPUT, _GRAPH_OUTPUT):
                    (inputs if inner == _GRAPH_INPUT else outputs).append(_end(_message(part)))
        elif number == _MODEL_METADATA:
            entry = {inner: _text(part) for inner, part in _fields(_message(value))}
            metadata[entry.get(_ENTRY_KEY, "")] = entry.get(_ENTRY_VALUE, "")
    return nodes, inputs, outputs, metadata


def _end(value: memoryview) -> End:
    name, kind = "", 0
    shape: list[Size] = []
    for number, part in _fields(value):
        if number == _VALUE_NAME:
            name = _text(part)
        elif number == _VALUE_TYPE:
            for tensor in _inside(_message(part), _TYPE_TENSOR):
                for inner, of_tensor in _fields(tensor):
                    if inner == _TENSOR_TYPE and isinstance(of_tensor, int):
                        kind = of_tensor
                    elif inner == _TENSOR_SHAPE:
                        shape += map(_size, _inside(_message(of_tensor), _SHAPE_SIZE))
    return End(name, kind, tuple(shape))


def _size(dimension: memoryview) -> Size:
    found: Size = 0
    for number, value in _fields(dimension):
        if number == _SIZE_NUMBER and isinstance(value, int):
            found = value - (1 << 64) if value >> 63 else value
        elif number == _SIZE_NAME:
            found = _text(value)
    return found


def _inside(message: memoryview, wanted: int) -> Iterator[memoryview]:
    return (_message(value) for number, value in _fields(message) if number == wanted)


def _fields(message: memoryview) -> Iterator[_Field]:
    """Number and value of each field; ValueError or IndexError where these are no fields."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if not number:
            raise ValueError("a field without a number")
        value: _Value
        if wire == _VARINT:
            value, at = _varint(message, at)
        else:
            if wire == _BYTES:
                size, at = _varint(message, at)
            elif wire in _FIXED:
                size = _FIXED[wire]
            else:
                raise ValueError(f"wire type {wire}")
            if size > len(message) - at:
                raise ValueError("cut short")
            value, at = message[at : at + size], at + size
        yield number, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _message(value: _Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _text(value: _Value) -> str:
    return bytes(_message(value)).decode("utf-8", "replace")


def _field(number: int, content: bytes) -> bytes:
    return _written(number << 3 | _BYTES) + _written(len(content)) + content


def _written(value: int) -> bytes:
    """A varint."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
