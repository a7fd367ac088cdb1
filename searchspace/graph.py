"""An ONNX graph of a block or of a whole network, batch norm folded into the convolutions.

Written with `onnx.helper`, so that deployment needs neither torch nor its exporter. Static shapes,
one input `input` (N, C, H, W) float32, one output `output`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from searchspace.architecture import Architecture, layer_prefix
from searchspace.mixed import is_int8, said_of
from searchspace.ops import (
    BATCH_NORM_EPS,
    Activation,
    Branches,
    Conv,
    Dropout,
    Gate,
    GlobalPool,
    Linear,
    Op,
    Residual,
    Shape,
    Shuffle,
    SqueezeExcite,
    assert_never,
    inner_shape,
    output_shape,
)
from searchspace.weights import Weights

INPUT, OUTPUT = "input", "output"
# Opset 17 and IR 8 are read by ONNX Runtime 1.15, OpenVINO 2023 and TensorRT 8.6, and everything since.
OPSET, IR_VERSION = 17, 8


def network_model(
    architecture: Architecture, weights: Weights, batch: int = 1, metadata: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """The whole network: images (N, 3, resolution, resolution) in, logits (N, classes) out.

    `metadata` becomes the model's `metadata_props`; a network of a mixed space says its precisions there.
    """
    space = architecture.space
    made = model(architecture.parts(), space.input_shape, weights, batch, f"{space.name}-network")
    chosen = zip(space.layers, architecture.choices, strict=True)
    on_integers = [layer_prefix(layer) for layer, label in chosen if is_int8(label)]
    helper.set_model_props(made, {**(metadata or {}), **said_of(space.name, on_integers)})
    return made


def model(
    parts: Iterable[tuple[str, tuple[Op, ...]]], shape: Shape, weights: Weights, batch: int, name: str
) -> onnx.ModelProto:
    """Operations in a row, each part's parameters below its prefix, on an input of `shape`."""
    builder = _Builder(weights)
    last, inside = INPUT, shape
    for prefix, ops in parts:
        last, inside = builder.add(ops, prefix, last, inside)
    if last == INPUT:
        builder.node("Identity", [INPUT], "identity")
    builder.nodes[-1].output[0] = OUTPUT
    images = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [batch, *shape])
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None)
    # Shapes are inferred without the weights' values, which inference would copy twice, but from the shapes
    # that a Reshape is given.
    typed = [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in builder.initializers]
    given = [t for t in builder.initializers if t.data_type == TensorProto.INT64]
    shapes = onnx.shape_inference.infer_shapes(
        _proto(helper.make_graph(builder.nodes, name, [images, *typed], [output], given)), strict_mode=True
    ).graph
    return _proto(
        helper.make_graph(
            builder.nodes,
            name,
            [images],
            shapes.output,
            builder.initializers,
            value_info=shapes.value_info,
        )
    )


def _proto(graph: onnx.GraphProto) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="ponas-deploy")


class _Builder:
    """Collects the nodes and initializers of one graph."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._constants: dict[float, str] = {}

    def add(self, ops: tuple[Op, ...], prefix: str, x: str, shape: Shape) -> tuple[str, Shape]:
        """Append `ops` behind value `x` of `shape`; the name and the shape of their output."""
        for op in ops:
            x, shape = self.op(op, prefix, x, shape), output_shape((op,), shape)
        return x, shape

    def op(self, op: Op, prefix: str, x: str, shape: Shape) -> str:
        if isinstance(op, Residual):
            body, _ = self.add(op.body, prefix, x, shape)
            return self.node("Add", [body, x], f"{prefix}.residual")
        if isinstance(op, Branches):
            return self.branches(op, prefix, x, shape)
        if isinstance(op, Shuffle):
            return self.shuffle(op, f"{prefix}.shuffle", x, shape)
        if isinstance(op, Conv):
            return self.conv(op, f"{prefix}.{op.name}", x)
        if isinstance(op, SqueezeExcite):
            return self.squeeze_excite(op, f"{prefix}.{op.name}", x)
        if isinstance(op, GlobalPool):
            return self.pool(op, prefix, x, shape)
        if isinstance(op, Linear):
            return self.linear(op, f"{prefix}.{op.name}", x)
        if isinstance(op, Dropout):
            return x
        assert_never(op)

    def branches(self, op: Branches, prefix: str, x: str, shape: Shape) -> str:
        inputs = [x] * len(op.rows)
        if op.split:
            inputs = [f"{prefix}.split.out{row}" for row in range(len(op.rows))]
            self.nodes.append(helper.make_node("Split", [x], inputs, name=f"{prefix}.split", axis=1))
        inside = inner_shape(op, shape)
        ends = [self.add(row, prefix, part, inside)[0] for row, part in zip(op.rows, inputs, strict=True)]
        return self.node("Concat", ends, f"{prefix}.concat", axis=1)

    def shuffle(self, op: Shuffle, name: str, x: str, shape: Shape) -> str:
        channels, height, width = shape
        # A 0 keeps the batch, whatever it is.
        grouped = self.integers(f"{name}.grouped", (0, op.groups, channels // op.groups, height, width))
        flat = self.integers(f"{name}.flat", (0, channels, height, width))
        x = self.node("Reshape", [x, grouped], f"{name}.group")
        x = self.node("Transpose", [x], f"{name}.transpose", perm=[0, 2, 1, 3, 4])
        return self.node("Reshape", [x, flat], f"{name}.ungroup")

    def pool(self, op: GlobalPool, prefix: str, x: str, shape: Shape) -> str:
        """One pixel needs no average."""
        if shape[1:] != (1, 1):
            x = self.node("GlobalAveragePool", [x], f"{prefix}.pool")
        return self.node("Flatten", [x], f"{prefix}.flatten", axis=1) if op.flatten else x

    def conv(self, op: Conv, name: str, x: str) -> str:
        weight, bias = fold_batch_norm(self.weights, name)
        inputs = [x, self.tensor(f"{name}.weight", weight), self.tensor(f"{name}.bias", bias)]
        x = self.node(
            "Conv",
            inputs,
            name,
            kernel_shape=[op.kernel] * 2,
            strides=[op.stride] * 2,
            pads=[op.kernel // 2] * 4,
            group=op.groups,
        )
        return x if op.activation is None else self.activation(op.activation, name, x)

    def linear(self, op: Linear, name: str, x: str) -> str:
        given = self.given(name, *(("weight", "bias") if op.bias else ("weight",)))
        x = self.node("Gemm", [x, *given], name, transB=1)
        return x if op.activation is None else self.activation(op.activation, name, x)

    def activation(self, kind: Activation, name: str, x: str) -> str:
        if kind == "relu":
            return self.node("Relu", [x], f"{name}.relu")
        if kind == "relu6":
            return self.node("Clip", [x, self.constant(0.0), self.constant(6.0)], f"{name}.relu6")
        if kind == "hswish":
            return self.node("HardSwish", [x], f"{name}.hswish")
        assert_never(kind)

    def squeeze_excite(self, op: SqueezeExcite, name: str, x: str) -> str:
        gate = self.node("GlobalAveragePool", [x], f"{name}.pool")
        gate = self.node("Conv", [gate, *self.given(f"{name}.reduce", "weight", "bias")], f"{name}.reduce")
        gate = self.activation("relu", name, gate)
        gate = self.node("Conv", [gate, *self.given(f"{name}.expand", "weight", "bias")], f"{name}.expand")
        return self.node("Mul", [x, self.gate(op.gate, name, gate)], f"{name}.scale")

    def gate(self, kind: Gate, name: str, x: str) -> str:
        if kind == "sigmoid":
            return self.node("Sigmoid", [x], f"{name}.sigmoid")
        if kind == "hard_sigmoid":
            return self.node("HardSigmoid", [x], f"{name}.hard_sigmoid", alpha=1 / 6, beta=0.5)
        assert_never(kind)

    def given(self, name: str, *roles: str) -> list[str]:
        return [self.tensor(f"{name}.{role}", self.weights[f"{name}.{role}"]) for role in roles]

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        output = f"{name}.out"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def tensor(self, name: str, value: NDArray[np.float32]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def integers(self, name: str, values: tuple[int, ...]) -> str:
        self.initializers.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def constant(self, value: float) -> str:
        if value not in self._constants:
            self._constants[value] = self.tensor(f"constant.{value:g}", np.array(value, np.float32))
        return self._constants[value]


def fold_batch_norm(weights: Weights, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias of the convolution `name` with its batch norm folded in, computed in float64."""
    norm = {role: weights[f"{name}.norm.{role}"].astype(np.float64) for role in _NORM}
    scale = norm["weight"] / np.sqrt(norm["running_var"] + BATCH_NORM_EPS)
    weight = weights[f"{name}.conv.weight"] * scale[:, None, None, None]
    bias = norm["bias"] - norm["running_mean"] * scale
    return weight.astype(np.float32), bias.astype(np.float32)


_NORM = ("weight", "bias", "running_mean", "running_var")
