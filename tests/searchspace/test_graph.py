"""The ONNX graphs: valid, static, and without a batch norm because it is folded."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from searchspace import Architecture, Space, build_space, parse_architecture
from searchspace.graph import IR_VERSION, OPSET, fold_batch_norm, model, network_model
from searchspace.ops import BATCH_NORM_EPS
from searchspace.weights import inherit, random_block, random_weights

SMALL = build_space("ponas", 32, 10)


def output_shape_of(proto: onnx.ModelProto) -> list[int]:
    return [size.dim_value for size in proto.graph.output[0].type.tensor_type.shape.dim]


@pytest.mark.parametrize(
    ("name", "space"),
    [
        *((f"PONAS-{letter}", SMALL) for letter in "ABC"),
        ("SPOS-PAPER", build_space("spos-shufflenet", 32, 10)),
    ],
)
def test_a_network_is_a_valid_model_with_static_shapes(name: str, space: Space) -> None:
    architecture = parse_architecture(name, space)
    proto = network_model(architecture, random_weights(architecture), batch=2)
    onnx.checker.check_model(proto, full_check=True)
    assert (proto.opset_import[0].version, proto.ir_version) == (OPSET, IR_VERSION)
    assert output_shape_of(proto) == [2, 10]


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(0, 11), min_size=19, max_size=19))
def test_any_network_is_valid_and_holds_no_batch_norm(indices: list[int]) -> None:
    architecture = Architecture.from_indices(SMALL, indices)
    proto = network_model(architecture, random_weights(architecture))
    onnx.checker.check_model(proto, full_check=True)
    kinds = {node.op_type for node in proto.graph.node}
    assert kinds <= {"Conv", "Clip", "Add", "GlobalAveragePool", "Flatten", "Gemm", "Relu", "Sigmoid", "Mul"}


def test_folding_is_convolution_then_batch_norm() -> None:
    weights = random_block(SMALL.stem, "stem", seed=3)
    weight, bias = fold_batch_norm(weights, "stem.conv")
    x = np.random.default_rng(0).normal(size=(3, 3, 3))
    plain = np.tensordot(weights["stem.conv.conv.weight"], x, 3)
    norm = {
        key: weights[f"stem.conv.norm.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
    }
    expected = (plain - norm["running_mean"]) / np.sqrt(norm["running_var"] + BATCH_NORM_EPS)
    expected = expected * norm["weight"] + norm["bias"]
    assert np.allclose(np.tensordot(weight, x, 3) + bias, expected, rtol=1e-5, atol=1e-5)


def test_a_block_alone_is_a_model() -> None:
    cell = SMALL.cells()[1][11]
    weights = random_block(cell.ops, "block")
    proto = model([("block", cell.ops)], cell.input_shape, weights, 1, "block")
    onnx.checker.check_model(proto, full_check=True)
    assert output_shape_of(proto) == [1, *SMALL.layer_shapes()[2]]
    (output,) = ReferenceEvaluator(proto).run(None, {"input": np.ones((1, *cell.input_shape), np.float32)})
    assert np.isfinite(output).all()


def test_random_weights_are_those_of_their_seed_and_fit() -> None:
    architecture = parse_architecture("PONAS-A", SMALL)
    first, again, other = (random_weights(architecture, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["stem.conv.conv.weight"], other["stem.conv.conv.weight"])
    assert inherit(first, architecture).keys() == first.keys()
