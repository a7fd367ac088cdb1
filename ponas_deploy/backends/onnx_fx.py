"""An ONNX model as a torch module: each node becomes one call in a `torch.fx` graph.

Read by the `torch` backend only. The graph is plain PyTorch, as a person would write it, so that eager
execution, CUDA graphs and `torch.compile` all run the same calls. It knows the operators that
`searchspace/graph.py` writes and names any other one.
"""

from __future__ import annotations

import operator
from importlib import import_module
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ponas_deploy.backends._buffers import static_shape
from ponas_deploy.errors import BackendError

Shape = tuple[int, ...]
Node = Any  # fx.Node; torch is imported where it is used


def torch_module(model: bytes, backend: str) -> tuple[Any, Shape]:
    """The `fx.GraphModule` in float32 on the CPU, and the shape of its one input.

    BackendError, in the name of `backend`, for bytes that are no ONNX model and for what it cannot do.
    """
    try:
        graph = onnx.load_model_from_string(model).graph
    except Exception as error:  # protobuf's own error class moves between its versions
        raise BackendError(backend, f"these bytes are no ONNX model ({error}).") from error
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise BackendError(
            backend, f"the model has {len(inputs)} inputs and {len(graph.output)} outputs, expected one each."
        )
    sizes = [d.dim_value or d.dim_param for d in inputs[0].type.tensor_type.shape.dim]
    shape = static_shape(backend, sizes, "input")
    return _Converter(graph, backend).convert(inputs[0].name), shape


class _Converter:
    """Writes one `fx` graph from one ONNX graph."""

    def __init__(self, graph: onnx.GraphProto, backend: str) -> None:
        self.torch, self.fx = import_module("torch"), import_module("torch.fx")
        self.onnx_graph, self.backend = graph, backend
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.root, self.graph = self.torch.nn.Module(), self.fx.Graph()
        self.values: dict[str, Node] = {}

    def convert(self, input_name: str) -> Any:
        """The whole graph; BackendError names the first operator that is not known."""
        self.values[input_name] = self.graph.placeholder("images")
        for node in self.onnx_graph.node:
            writer = _WRITERS.get(node.op_type)
            if writer is None:
                known = ", ".join(_WRITERS)
                raise self.error(
                    node, f"is an operator this backend does not run: take another one; it runs {known}"
                )
            attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            written = writer(self, node, attributes)
            for name, value in zip(
                node.output, written if isinstance(written, list) else [written], strict=True
            ):
                self.values[name] = value
        self.graph.output(self.value(self.onnx_graph.output[0].name))
        return self.fx.GraphModule(self.root, self.graph)

    def error(self, node: onnx.NodeProto, reason: str) -> BackendError:
        name = f" '{node.name}'" if node.name else ""
        return BackendError(self.backend, f"{node.op_type}{name} {reason}.")

    def value(self, name: str) -> Node:
        """A value computed before, or a constant of the model."""
        if name not in self.values:
            self.values[name] = self.tensor(self.constants[name])
        return self.values[name]

    def tensor(self, value: NDArray[Any]) -> Node:
        """A constant, held by the module so that it moves to the device with it."""
        name = f"constant_{len(list(self.root.buffers()))}"
        self.root.register_buffer(name, self.torch.from_numpy(np.array(value)))
        return self.graph.get_attr(name)

    def scalar(self, node: onnx.NodeProto, position: int) -> float | None:
        """A constant input of one element, None where it is left out."""
        if len(node.input) <= position or not node.input[position]:
            return None
        if node.input[position] not in self.constants:
            raise self.error(node, "has a bound that is computed; only constants are run")
        return float(self.constants[node.input[position]].item())

    def call(self, function: Any, *arguments: Any) -> Node:
        return self.graph.call_function(function, arguments)

    def conv(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        pads = list(attributes.get("pads", [0, 0, 0, 0]))
        if attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or len(pads) != 4 or pads[:2] != pads[2:]:
            raise self.error(node, f"is padded by {pads}; only equal padding on both sides in 2-D is run")
        bias = self.value(node.input[2]) if len(node.input) > 2 else None
        return self.call(
            self.torch.conv2d,
            self.value(node.input[0]),
            self.value(node.input[1]),
            bias,
            list(attributes.get("strides", [1, 1])),
            pads[:2],
            list(attributes.get("dilations", [1, 1])),
            attributes.get("group", 1),
        )

    def clip(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        low = attributes.get("min", self.scalar(node, 1))
        high = attributes.get("max", self.scalar(node, 2))
        return self.call(self.torch.clamp, self.value(node.input[0]), low, high)

    def gemm(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        if attributes.get("alpha", 1.0) != 1 or attributes.get("beta", 1.0) != 1 or attributes.get("transA"):
            raise self.error(node, "scales or transposes its input; only x W^T + b and x W + b are run")
        if node.input[1] not in self.constants:
            raise self.error(node, "has a computed weight; only a constant one is run")
        weight = self.constants[node.input[1]]
        weight = weight if attributes.get("transB") else np.ascontiguousarray(weight.T)
        bias = self.value(node.input[2]) if len(node.input) > 2 else None
        linear = self.torch.nn.functional.linear
        return self.call(linear, self.value(node.input[0]), self.tensor(weight), bias)

    def pool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        return self.call(self.torch.mean, self.value(node.input[0]), (2, 3), True)

    def flatten(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        if attributes.get("axis", 1) != 1:
            raise self.error(node, f"has axis {attributes['axis']}; only axis 1 is run")
        return self.call(self.torch.flatten, self.value(node.input[0]), 1)

    def relu(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        return self.call(self.torch.relu, self.value(node.input[0]))

    def sigmoid(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        return self.call(self.torch.sigmoid, self.value(node.input[0]))

    def hard_swish(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        return self.call(self.torch.nn.functional.hardswish, self.value(node.input[0]))

    def hard_sigmoid(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
        if abs(alpha - 1 / 6) > 1e-6 or beta != 0.5:
            raise self.error(node, f"has alpha {alpha:g} and beta {beta:g}; only 1/6 and 1/2 are run")
        return self.call(self.torch.nn.functional.hardsigmoid, self.value(node.input[0]))

    def add(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        return self.call(operator.add, self.value(node.input[0]), self.value(node.input[1]))

    def multiply(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        return self.call(operator.mul, self.value(node.input[0]), self.value(node.input[1]))

    def split(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> list[Node]:
        if len(node.input) > 1:
            raise self.error(node, "names the sizes of its parts; only equal parts are run")
        parts = len(node.output)
        found = self.call(self.torch.chunk, self.value(node.input[0]), parts, attributes.get("axis", 0))
        return [self.call(operator.getitem, found, part) for part in range(parts)]

    def concat(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        return self.call(self.torch.cat, [self.value(name) for name in node.input], attributes["axis"])

    def reshape(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        first, *others = map(int, self.constants.get(node.input[1], [-1]))
        if first != 0 or min(others, default=0) < 1:
            raise self.error(node, "changes the batch or leaves a size open; only other sizes are changed")
        return self.call(self.torch.reshape, self.value(node.input[0]), (-1, *others))

    def transpose(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Node:
        return self.call(self.torch.permute, self.value(node.input[0]), list(attributes["perm"]))


_WRITERS = {
    "Conv": _Converter.conv,
    "Clip": _Converter.clip,
    "Relu": _Converter.relu,
    "Add": _Converter.add,
    "GlobalAveragePool": _Converter.pool,
    "Flatten": _Converter.flatten,
    "Gemm": _Converter.gemm,
    "Sigmoid": _Converter.sigmoid,
    "HardSwish": _Converter.hard_swish,
    "HardSigmoid": _Converter.hard_sigmoid,
    "Mul": _Converter.multiply,
    "Split": _Converter.split,
    "Concat": _Converter.concat,
    "Reshape": _Converter.reshape,
    "Transpose": _Converter.transpose,
}
