"""An ONNX model in INT8 for runtimes on a CPU: Q/DQ pairs that they turn into kernels on 8-bit integers.

What a convolution reads and what leaves it are quantised, so that its kernel takes and gives integers; the
classifier gives floats. Weights are signed and symmetric, one scale for each output channel, stored as
integers. All scales are in single precision. What is pooled to one pixel stays in floats. Activations have
one type and a zero point, so that what a ReLU leaves uses all 256 steps; biases are whole numbers, by the
scale of the input times that of the weight: kernels ask for that. Kernels of OpenVINO take a hard swish
behind a convolution with them, so there only what leaves that one is quantised; those of ONNX Runtime do not.

Which integers, the processor says (`form_for`): unsigned activations on x86, signed ones on ARM. Where x86
has no instruction for products of 8-bit integers (VNNI, AMX) it adds pairs of them in 16 bits, which full
weights overflow: weights then use 7 bits.
Source: onnxruntime.ai/docs/performance/model-optimizations/quantization.html (Data type selection, U8S8 and
reduce_range). OpenVINO reads the same models (docs.openvino.ai, Low Precision Transformations).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ponas_deploy.backends.onnx_precision import (
    LARGEST_INT8,
    channel_axis,
    check_calibrated,
    model_bytes,
    read_model,
    values_read,
    weighted_nodes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

NARROW_WEIGHTS = 63
_LARGEST_BIAS = 2**30
_BOUNDED, _HARD_SWISH = ("Relu", "Clip"), "HardSwish"
"""What is fused into the convolution before it, everywhere and in some runtimes."""
_FUSED = ", h-swish in the convolution"
_ARM = {"asimd", "neon"}
_WITHOUT_OVERFLOW = {"avx_vnni", "avx512_vnni", "amx_int8"}
_LEAST_SCALE = 1e-8
_STEPS = 255


@dataclass(frozen=True)
class IntegerForm:
    """Which integers a processor takes: `signed` activations or not, and the largest weight (127 or 63).

    With `fuses_hard_swish` the runtime computes a hard swish in the convolution before it.
    """

    signed: bool = False
    largest_weight: int = LARGEST_INT8
    fuses_hard_swish: bool = False

    @property
    def text(self) -> str:
        """For people and environments."""
        kind = "int8" if self.signed else "uint8"
        bits = 8 if self.largest_weight == LARGEST_INT8 else 7
        fused = _FUSED if self.fuses_hard_swish else ""
        return f"{kind} activations, weights of {bits} bits by channel{fused}"


def form_for(instruction_sets: Collection[str], *, fuses_hard_swish: bool = False) -> IntegerForm:
    """What a processor with these instruction sets takes; what any x86 takes where none is known."""
    known = set(instruction_sets)
    signed = bool(known & _ARM)
    narrow = not signed and not known & _WITHOUT_OVERFLOW
    return IntegerForm(signed, NARROW_WEIGHTS if narrow else LARGEST_INT8, fuses_hard_swish)


def form_called(text: str) -> IntegerForm:
    """The form that says so of itself; what any x86 takes for another text."""
    fused = text.endswith(_FUSED)
    known = (IntegerForm(signed, fuses_hard_swish=fused) for signed in (False, True))
    return next((form for form in known if form.text == text), form_for((), fuses_hard_swish=fused))


def to_integers(
    backend: str,
    model: bytes,
    ranges: Mapping[str, tuple[float, float]],
    form: IntegerForm,
    layers: Collection[str] | None = None,
) -> bytes:
    """The model with its convolutions and matrix products on integers, the rest in single precision.

    `ranges` are the least and the largest of each of `values_to_quantise` (`onnx_calibration.value_ranges`).
    `layers` are the only ones to quantise, see `onnx_precision.weighted_nodes`. BackendError where a value is
    missing or not finite.
    """
    proto = read_model(backend, model)
    chosen = weighted_nodes(backend, proto, layers)
    values = _values(proto.graph, chosen, form)
    check_calibrated(backend, values, ranges)
    _Writer(proto.graph, form, {name: ranges[name] for name in values}, chosen).rewrite()
    return model_bytes(proto)


def values_to_quantise(
    backend: str, model: bytes, form: IntegerForm, layers: Collection[str] | None = None
) -> tuple[str, ...]:
    """The activations that are quantised: what chosen layers read, and what leaves their convolutions."""
    proto = read_model(backend, model)
    return _values(proto.graph, weighted_nodes(backend, proto, layers), form)


def _values(graph: Any, chosen: Collection[Any], form: IntegerForm) -> tuple[str, ...]:
    ends = {value.name for value in graph.output}
    fused = (*_BOUNDED, _HARD_SWISH) if form.fuses_hard_swish else _BOUNDED
    left = (_leaves(graph, node, fused) for node in chosen if node.op_type == "Conv")
    return tuple(dict.fromkeys((*values_read(chosen), *(name for name in left if name not in ends))))


def _leaves(graph: Any, node: Any, fused: Collection[str]) -> str:
    """The value that leaves a convolution, past the activation that is fused into it."""
    name = str(node.output[0])
    readers = [one for one in graph.node if name in one.input]
    ends = {value.name for value in graph.output}
    if len(readers) == 1 and readers[0].op_type in fused and name not in ends:
        return str(readers[0].output[0])
    return name


class _Writer:
    """Writes a graph again with its pairs, each right behind the value that it quantises."""

    def __init__(
        self,
        graph: Any,
        form: IntegerForm,
        ranges: Mapping[str, tuple[float, float]],
        chosen: Collection[Any],
    ) -> None:
        self._graph, self._form, self._ranges = graph, form, ranges
        self._chosen = {node.name for node in chosen}
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._scales = {name: self._scale_of(name) for name in ranges}
        self._dequantised: dict[str, str] = {}
        self._nodes: list[Any] = []

    def rewrite(self) -> None:
        """In the order of the graph, which stays topological."""
        self._quantise(self._graph.input[0].name)
        for node in self._graph.node:
            if node.name in self._chosen:
                self._quantise_weights(node)
            else:
                node.input[:] = [self._dequantised.get(name, name) for name in node.input]
            self._nodes.append(type(node).FromString(node.SerializeToString()))
            for name in node.output:
                self._quantise(name)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        self._drop_unused()

    def _scale_of(self, name: str) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Scale and zero point of a value, of the type that it is stored in."""
        least, most = self._ranges[name]
        scale = _within(most - least, _STEPS)
        below = round(-least / float(scale))
        zero = min(max(below, 0), _STEPS)
        kind, first = (np.int8, -128) if self._form.signed else (np.uint8, 0)
        return scale, np.array(zero + first, kind)

    def _quantise(self, name: str) -> None:
        if name not in self._scales:
            return
        ends = self._add_scale(name, *self._scales[name])
        integers, back = f"{name}.quantized", f"{name}.dequantized"
        self._add_node("QuantizeLinear", [name, *ends], integers)
        self._add_node("DequantizeLinear", [integers, *ends], back)
        self._dequantised[name] = back

    def _quantise_weights(self, node: Any) -> None:
        """The weight by channel, with the bias where that is a whole number too."""
        import onnx

        axis = channel_axis(node)
        weight = onnx.numpy_helper.to_array(self._weights[node.input[1]]).astype(np.float64)
        others = tuple(dimension for dimension in range(weight.ndim) if dimension != axis)
        scale = np.maximum(np.abs(weight).max(axis=others) / self._form.largest_weight, _LEAST_SCALE)
        whole_bias = len(node.input) > 2 and node.input[2] in self._weights and _plain(node)
        reads = float(self._scales[node.input[0]][0])
        if whole_bias:
            offset = onnx.numpy_helper.to_array(self._weights[node.input[2]]).astype(np.float64)
            # A channel of tiny weights and a large bias: a scale by which the bias is still a 32-bit number.
            scale = np.maximum(scale, np.abs(offset) / (reads * _LARGEST_BIAS))
        scale = scale.astype(np.float32)
        along = [-1 if dimension == axis else 1 for dimension in range(weight.ndim)]
        whole = np.rint(weight / scale.reshape(along)).clip(-LARGEST_INT8, LARGEST_INT8).astype(np.int8)
        name = f"{node.input[1]}.{node.name}"
        node.input[0] = self._dequantised[node.input[0]]
        node.input[1] = self._add_integers(name, whole, scale, axis)
        if whole_bias:
            of_bias = (reads * scale).astype(np.float32)
            steps = np.rint(offset / of_bias).astype(np.int32)
            node.input[2] = self._add_integers(f"{node.input[2]}.{node.name}", steps, of_bias, 0)

    def _add_integers(self, name: str, values: NDArray[Any], scale: NDArray[np.float32], axis: int) -> str:
        import onnx

        integers, back = f"{name}.quantized", f"{name}.dequantized"
        self._graph.initializer.append(onnx.numpy_helper.from_array(values, integers))
        ends = self._add_scale(name, scale, np.zeros(scale.shape, values.dtype))
        self._add_node("DequantizeLinear", [integers, *ends], back, axis=axis)
        return back

    def _add_scale(self, name: str, scale: NDArray[np.float32], zero: NDArray[Any]) -> tuple[str, str]:
        import onnx

        ends = (f"{name}.scale", f"{name}.zero")
        for value, end in zip((scale, zero), ends):
            self._graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), end))
        return ends

    def _add_node(self, kind: str, sources: list[str], target: str, **axis: Any) -> None:
        import onnx

        self._nodes.append(onnx.helper.make_node(kind, sources, [target], name=target, **axis))

    def _drop_unused(self) -> None:
        """Weights that only stand in the model as integers now."""
        used = Counter(name for node in self._graph.node for name in node.input)
        kept = [tensor for tensor in self._graph.initializer if used[tensor.name]]
        copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in kept]
        del self._graph.initializer[:]
        self._graph.initializer.extend(copies)


def _within(span: float, steps: int) -> NDArray[np.float32]:
    """The scale by which so many steps reach the end of a span and no further.

    A runtime leaves out an activation that cuts off at 6 only where no integer stands for more.
    """
    scale = np.float32(max(span / steps, _LEAST_SCALE))
    while scale * np.float32(steps) > np.float32(span) and scale > _LEAST_SCALE:
        scale = np.nextafter(scale, np.float32(0))
    return np.array(scale, np.float32)


def _plain(node: Any) -> bool:
    """Whether nothing multiplies the product or the bias of a Gemm."""
    factors = (one.f for one in node.attribute if one.name in ("alpha", "beta"))
    return all(factor == 1.0 for factor in factors)
