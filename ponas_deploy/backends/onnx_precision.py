"""An ONNX model in another precision, by its types: what a strongly typed runtime then runs.

    fp16   weights, input, output and everything between in half precision
    int8   convolutions and matrix products on signed 8-bit integers, the rest in half precision

INT8 is explicit: each of those operators reads its input and its weight through a pair of QuantizeLinear and
DequantizeLinear. Scales are symmetric (zero point 0, range -127 to 127 where no value saturates), one for
an activation, one for each output channel of a weight; biases stay in half precision. A residual addition
reads the quantised value where there is one, so that it can be fused into the convolution before it. What is
pooled to one pixel (the gates of squeeze-and-excite) stays in half precision: there is nothing to gain.
Source: NVIDIA TensorRT developer guide, "Working with Quantized Types" (explicit quantization, placement).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ponas_deploy.backends._buffers import import_fault
from ponas_deploy.backends.onnx_interface import read_interface
from ponas_deploy.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPSET = 19
"""The first in which QuantizeLinear and DequantizeLinear know half precision."""
_IR_VERSION = 9
_LARGEST_FP16 = 65504.0
LARGEST_INT8 = 127
WEIGHTED = ("Conv", "Gemm")
# Smaller halves are subnormal: few digits, and zero on some hardware. A channel of
# weights whose largest is below 127 times this uses fewer than 8 bits: 47 of 6682 in a trained network did,
# whose top-1 was that of fp32.
_LEAST_SCALE = 2.0**-14


def read_model(backend: str, model: bytes) -> Any:
    """The ModelProto of these bytes; BackendError without nodes, one input and one output."""
    try:
        import onnx
    except ImportError as error:
        raise BackendError(backend, f"the package onnx {import_fault(error, 'onnx')}") from error
    try:
        proto = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's DecodeError has no public home
        raise BackendError(backend, "the model is not ONNX: give the bytes of an .onnx file.") from error
    read_interface(backend, model)
    return proto


def to_fp16(backend: str, model: bytes) -> bytes:
    """The model in half precision, its input and output too.

    BackendError for a weight that half precision cannot hold.
    """
    return model_bytes(_half(backend, read_model(backend, model)))


def to_int8(
    backend: str, model: bytes, largest: Mapping[str, float], layers: Collection[str] | None = None
) -> bytes:
    """The model with its convolutions and matrix products in INT8, the rest in half precision.

    `largest` is the largest magnitude of each value of `quantised_values`, as calibration found it
    (`onnx_calibration.py`). `layers` are the only ones to quantise, see `weighted_nodes`. BackendError where
    a value is missing or not a finite number.
    """
    import onnx

    proto = read_model(backend, model)
    chosen = weighted_nodes(backend, proto, layers)
    names = values_read(chosen)
    check_calibrated(backend, names, largest)
    if _opset(proto) < OPSET:
        proto = onnx.version_converter.convert_version(proto, OPSET)
        proto.ir_version = max(proto.ir_version, _IR_VERSION)
    _half(backend, proto)
    weights = {node.input[1] for node in chosen}
    _Quantiser(proto.graph, {name: largest[name] for name in names}, weights).rewrite()
    return model_bytes(proto)


def check_calibrated(backend: str, names: Collection[str], found: Mapping[str, Any]) -> None:
    """BackendError where calibration did not see a value, or saw one that is not finite."""
    for name in names:
        if not np.isfinite(found.get(name, np.nan)).all():
            raise BackendError(
                backend,
                f"the value '{name}' was not calibrated, or is not finite: calibrate with other images.",
            )


class _Quantiser:
    """Writes a graph again with the pairs of QuantizeLinear and DequantizeLinear where they belong."""

    def __init__(self, graph: Any, largest: Mapping[str, float], weights: Collection[str]) -> None:
        self._graph, self._largest, self._chosen = graph, largest, weights
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._nodes: list[Any] = []
        self._quantised: dict[str, str] = {}

    def rewrite(self) -> None:
        """Put every pair right behind the value that it quantises, so that the order stays topological."""
        self._quantise_activation(self._graph.input[0].name)
        for node in self._graph.node:
            if node.op_type in WEIGHTED and node.input[1] in self._chosen:
                self._quantise_weight(node)
                node.input[0], node.input[1] = (self._quantised[name] for name in node.input[:2])
            elif node.op_type == "Add":
                node.input[:] = [self._quantised.get(name, name) for name in node.input]
            self._nodes.append(type(node).FromString(node.SerializeToString()))
            for name in node.output:
                self._quantise_activation(name)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)

    def _quantise_activation(self, name: str) -> None:
        if name in self._largest:
            self._add_pair(name, _scale(np.asarray(self._largest[name])))

    def _quantise_weight(self, node: Any) -> None:
        """One scale for each output channel."""
        import onnx

        name, axis = node.input[1], channel_axis(node)
        if name not in self._quantised:
            magnitudes = np.abs(onnx.numpy_helper.to_array(self._weights[name]))
            others = tuple(dimension for dimension in range(magnitudes.ndim) if dimension != axis)
            self._add_pair(name, _scale(magnitudes.max(axis=others)), axis=axis)

    def _add_pair(self, name: str, scale: NDArray[np.float16], **axis: Any) -> None:
        import onnx

        ends = (f"{name}.scale", f"{name}.zero")
        zero = np.zeros(scale.shape, np.int8)
        self._graph.initializer.append(onnx.numpy_helper.from_array(scale, ends[0]))
        self._graph.initializer.append(onnx.numpy_helper.from_array(zero, ends[1]))
        integers, back = f"{name}.quantized", f"{name}.dequantized"
        for kind, source, target in (
            ("QuantizeLinear", name, integers),
            ("DequantizeLinear", integers, back),
        ):
            node = onnx.helper.make_node(kind, [source, *ends], [target], name=target, **axis)
            self._nodes.append(node)
        self._quantised[name] = back


def quantised_values(proto: Any) -> tuple[str, ...]:
    """The activations that are quantised: what convolutions and matrix products read, if larger than a pixel.

    In the order in which the graph reads them; each once.
    """
    return values_read(weighted_nodes("", proto))


def values_read(nodes: Collection[Any]) -> tuple[str, ...]:
    """The activations that nodes read, in order; each once."""
    return tuple(dict.fromkeys(node.input[0] for node in nodes))


def weighted_nodes(backend: str, proto: Any, layers: Collection[str] | None = None) -> tuple[Any, ...]:
    """The convolutions and matrix products to quantise: those that read more than a pixel.

    `layers` are the names of the only ones, each of a node or of a layer around it (`layers.3` stands for
    `layers.3.expand`, `layers.3.depthwise`, ...); None for all. BackendError for a name that none has.
    """
    shapes = {
        value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
        for value in (*proto.graph.input, *proto.graph.value_info)
    }
    weights = {tensor.name for tensor in proto.graph.initializer}
    found = tuple(
        node
        for node in proto.graph.node
        if node.op_type in WEIGHTED and node.input[0] not in weights and node.input[1] in weights
        if shapes.get(node.input[0], ())[2:] not in ((1, 1), (1,))
    )
    if layers is None:
        return found
    for name in layers:
        if not any(is_in_layer(node.name, name) for node in found):
            raise BackendError(
                backend,
                f"'{name}' is no layer that can be quantised: known are"
                f" {', '.join(node.name for node in found)}.",
            )
    return tuple(node for node in found if any(is_in_layer(node.name, name) for name in layers))


def is_in_layer(node: str, layer: str) -> bool:
    """Whether a node, by its name, is of a layer, or is it."""
    return node == layer or node.startswith(f"{layer}.")


def channel_axis(node: Any) -> int:
    """The dimension of a weight that counts output channels."""
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return 1 if node.op_type == "Gemm" and not transposed else 0


def _scale(largest: NDArray[Any]) -> NDArray[np.float16]:
    """Symmetric scales as halves, rounded up so that the largest value does not saturate."""
    wanted = np.maximum(np.asarray(largest, np.float64) / LARGEST_INT8, _LEAST_SCALE)
    scale = wanted.astype(np.float16)
    return np.where(scale < wanted, np.nextafter(scale, np.float16(np.inf)), scale).astype(np.float16)


def _half(backend: str, proto: Any) -> Any:
    """Turn every float32 type of the model into float16, in place."""
    import onnx

    single, half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    for tensor in _tensors(proto):
        if tensor.data_type == single:
            values = onnx.numpy_helper.to_array(tensor)
            if values.size and not np.abs(values).max() <= _LARGEST_FP16:
                raise BackendError(
                    backend,
                    f"the weight '{tensor.name}' reaches {np.abs(values).max():.3g}, and half precision ends"
                    f" at {_LARGEST_FP16:.0f}: ask for fp32.",
                )
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), tensor.name))
    graph = proto.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == single:
            value.type.tensor_type.elem_type = half
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == single:
                attribute.i = half
    return proto


def _tensors(proto: Any) -> Iterator[Any]:
    """The initializers, and the tensors in attributes (of Constant nodes)."""
    yield from proto.graph.initializer
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _opset(proto: Any) -> int:
    return next((one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")), 0)


def model_bytes(proto: Any) -> bytes:
    """A model as it is written: the same one gives the same bytes."""
    made: bytes = proto.SerializeToString(deterministic=True)
    return made
