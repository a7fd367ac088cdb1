"""Parameters and MACs of any ONNX model, counted from its graph: one way to count for all that is compared.

As deployed: where batch norm was folded into a convolution its two vectors are one bias. MACs are
multiply-accumulates of convolutions and matrix products, as in `searchspace.cost`.
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


@dataclass(frozen=True, slots=True)
class ModelCosts:
    """What one image costs: parameters, and MACs; None where shapes in the graph are not known."""

    params: int
    macs: int | None


def model_costs(model: bytes, batch: int = 1) -> ModelCosts:
    """Count the costs of a model whose inputs have fixed sizes, a `batch` of images among them.

    A tensor of one number is a constant of an operation, no parameter.
    """
    import onnx

    graph = onnx.load_model_from_string(model).graph
    statistics = {
        name for node in graph.node if node.op_type == "BatchNormalization" for name in node.input[3:5]
    }
    floating = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
    params = sum(
        prod(tensor.dims)
        for tensor in graph.initializer
        if prod(tensor.dims) > 1 and tensor.data_type in floating and tensor.name not in statistics
    )
    macs = _all_macs(model)
    if macs is None:  # a shape may be computed from others, which takes a runtime
        with suppress(BackendError):
            macs = _all_macs(with_folded_constants(model))
    return ModelCosts(params, None if macs is None else macs // max(batch, 1))


def _all_macs(model: bytes) -> int | None:
    """Those of all nodes together; None where the shape of one is not known."""
    import onnx

    graph = _with_shapes(onnx.load_model_from_string(model)).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer} | {
        value.name: sizes
        for value in (*graph.value_info, *graph.input, *graph.output)
        if (sizes := _sizes(value)) is not None
    }
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
        sizes = [shapes.get(name) for name in node.input[:2]]
        out = shapes.get(node.output[0]) if node.output else None
        if node.op_type == "Conv":
            weight = sizes[1]
            yield prod(out) * prod(weight[1:]) if out and weight else None
        elif node.op_type == "ConvTranspose":
            images, weight = sizes
            yield prod(images) * prod(weight[1:]) if images and weight else None
        elif node.op_type == "MatMul":
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
