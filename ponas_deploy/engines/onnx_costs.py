"""Parameters and MACs of any ONNX model, counted from its graph: one way to count for all that is compared.

As deployed: where batch norm was folded into a convolution its two vectors are one bias. MACs are
multiply-accumulates of convolutions and matrix products, as in `searchspace.cost`. Of a quantised model the
integer weights count, its scales and zero points do not (https://onnx.ai/onnx/operators).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any

from ponas_deploy.backends.onnxruntime import with_folded_constants
from ponas_deploy.errors import BackendError

Sizes = tuple[int, ...]
_NO_PARAMETERS = {
    "BatchNormalization": (3, 4),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
}
"""Inputs of operators, by their places, that are statistics, scales and zero points."""
_STANDARD = ("", "ai.onnx")
_WEIGHT = {"QLinearConv": 3}
"""The place of a weight where it is not 1."""
_BIAS_OF_INTEGERS = {"DequantizeLinear": (0,), "QLinearConv": (8,)}
"""Where a bias of int32 stands."""


@dataclass(frozen=True, slots=True)
class ModelCosts:
    """What one image costs: parameters and MACs; None where they cannot be counted.

    That is where shapes in the graph are not known, where weights go into operators of somebody's own, or are
    nowhere in the graph.
    """

    params: int | None
    macs: int | None


def model_costs(model: bytes, batch: int = 1) -> ModelCosts:
    """Count the costs of a model whose inputs have fixed sizes, a `batch` of images among them.

    A tensor of one number is a constant of an operation, no parameter.
    """
    import onnx

    params = _params(onnx.load_model_from_string(model).graph)
    macs = _all_macs(model)
    if macs is None:  # a shape may be computed from others, which takes a runtime
        with suppress(BackendError):
            macs = _all_macs(with_folded_constants(model))
    return ModelCosts(params, None if macs is None else macs // max(batch, 1))


def _params(graph: Any) -> int | None:
    """Those of all weights and biases together; None where there are none, or foreign operators take them."""
    from onnx import TensorProto

    kinds = ["FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8", "INT4", "UINT4"]
    of_weights = {TensorProto.DataType.Value(kind) for kind in kinds}
    others, biases = _inputs_at(graph, _NO_PARAMETERS), _inputs_at(graph, _BIAS_OF_INTEGERS)
    found = [
        prod(tensor.dims)
        for tensor in graph.initializer
        if (tensor.data_type in of_weights and tensor.name not in others)
        or (tensor.data_type == TensorProto.INT32 and tensor.name in biases)
    ]
    params = sum(count for count in found if count > 1)
    return None if _is_foreign(graph) else params or None


def _inputs_at(graph: Any, places: Mapping[str, Sizes]) -> set[str]:
    """The names of inputs that stand at these places of operators."""
    return {
        node.input[place]
        for node in graph.node
        for place in places.get(node.op_type, ())
        if place < len(node.input)
    }


def _is_foreign(graph: Any) -> bool:
    """Whether operators of another domain than ONNX's take weights: what they do with them is not known."""
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    return any(node.domain not in _STANDARD and weights & {*node.input} for node in graph.node)


def _all_macs(model: bytes) -> int | None:
    """Those of all nodes together; None where the shape of one is not known."""
    import onnx

    graph = _with_shapes(onnx.load_model_from_string(model)).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer} | {
        value.name: sizes
        for value in (*graph.value_info, *graph.input, *graph.output)
        if (sizes := _sizes(value)) is not None
    }
    if _is_foreign(graph):
        return None
    macs = list(_macs(graph, shapes))
    known = [count for count in macs if count is not None]
    return sum(known) if len(known) == len(macs) else None


def _with_shapes(model: Any) -> Any:
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # protobuf's and onnx's errors share no base class; operators of somebody's own
        return model


def _macs(graph: Any, shapes: Mapping[str, Sizes]) -> Iterator[int | None]:
    """Those of each node that has any; None where a shape is not known."""
    for node in graph.node:
        places = 0, _WEIGHT.get(node.op_type, 1)
        sizes = [shapes.get(node.input[place]) for place in places if place < len(node.input)]
        out = shapes.get(node.output[0]) if node.output else None
        if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
            weight = sizes[1]
            yield prod(out) * prod(weight[1:]) if out and weight else None
        elif node.op_type == "ConvTranspose":
            images, weight = sizes
            yield prod(images) * prod(weight[1:]) if images and weight else None
        elif node.op_type in ("MatMul", "MatMulInteger", "QLinearMatMul"):
            yield prod(out) * sizes[0][-1] if out is not None and sizes[0] else None
        elif node.op_type == "Gemm":
            transposed = any(one.name == "transA" and one.i for one in node.attribute)
            yield prod(out) * sizes[0][0 if transposed else -1] if out and sizes[0] else None


def _sizes(value: Any) -> Sizes | None:
    """The sizes of a tensor; None where one is open."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    sizes = tuple(size.dim_value for size in kind.shape.dim)
    return sizes if all(size > 0 for size in sizes) else None
