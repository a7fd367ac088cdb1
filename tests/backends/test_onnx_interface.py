"""What a model takes and gives, read without the package onnx; and models that were prepared elsewhere."""

from __future__ import annotations

import random
from contextlib import suppress

import onnx
import pytest
from onnx import TensorProto, helper

from ponas_deploy.backends.onnx_calibration import Calibration
from ponas_deploy.backends.onnx_interface import End, read_interface, with_metadata
from ponas_deploy.backends.onnx_precision import to_fp16
from ponas_deploy.backends.onnx_prepared import prepared, prepared_for_board
from ponas_deploy.errors import BackendError
from searchspace import Architecture, Space
from searchspace.graph import network_model
from searchspace.weights import random_weights


@pytest.fixture
def model(tiny: Space) -> bytes:
    architecture = Architecture.from_indices(tiny, (3, 0, 1))
    return bytes(network_model(architecture, random_weights(architecture), batch=2).SerializeToString())


def end_of(value: onnx.ValueInfoProto) -> End:
    tensor = value.type.tensor_type
    return End(
        value.name, tensor.elem_type, tuple(size.dim_param or size.dim_value for size in tensor.shape.dim)
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_it_reads_what_the_package_onnx_reads(model: bytes, precision: str) -> None:
    made = prepared("test", model, precision)
    graph, found = onnx.load_model_from_string(made).graph, read_interface("test", made)
    assert (found.input, found.output) == (end_of(graph.input[0]), end_of(graph.output[0]))
    assert found.input.static_shape("test", "input") == (2, 3, 32, 32)
    assert found.metadata == {}


def test_sizes_that_are_open_negative_or_not_said() -> None:
    value = helper.make_tensor_value_info
    given = value("ünïcode", TensorProto.FLOAT16, ["N", 3, -1, None])
    node = helper.make_node("Relu", ["ünïcode"], ["out"])
    made = helper.make_graph([node], "g", [given], [value("out", TensorProto.DOUBLE, [])])
    found = read_interface("test", helper.make_model(made).SerializeToString())
    assert found.input == End("ünïcode", TensorProto.FLOAT16, ("N", 3, -1, 0))
    assert found.output == End("out", TensorProto.DOUBLE, ())
    with pytest.raises(BackendError, match=r"test: the model's input has the open shape \['N', 3, -1, 0\]"):
        found.input.static_shape("test", "input")


def test_what_it_says_of_itself(model: bytes) -> None:
    made = with_metadata(with_metadata(model, "one", "1"), "größe", "x" * 300)
    assert read_interface("test", made).metadata == {"one": "1", "größe": "x" * 300}
    proto = onnx.load_model_from_string(made)
    assert {one.key: one.value for one in proto.metadata_props} == {"one": "1", "größe": "x" * 300}
    onnx.checker.check_model(proto)


def test_other_bytes_are_a_sentence(model: bytes) -> None:
    """Whatever they are: cut, changed at random, or none."""
    chance = random.Random(1)
    for _ in range(300):
        broken = bytearray(model[: chance.randrange(len(model))] if chance.random() < 0.5 else model)
        for _ in range(chance.randrange(20)):
            if broken:
                broken[chance.randrange(min(len(broken), 4000))] = chance.randrange(256)
        with suppress(BackendError):
            read_interface("test", bytes(broken))
    for nothing in (b"", b"no model", b"\xff" * 30):
        with pytest.raises(BackendError, match="test: the model"):
            read_interface("test", nothing)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "int8"])
def test_a_model_prepared_elsewhere_is_taken_as_it_stands(model: bytes, precision: str) -> None:
    sent = prepared_for_board("test", model, precision, Calibration())
    assert prepared("test", sent, precision) == sent
    here = prepared("test", model, precision)
    assert sent.startswith(here)
    assert (sent == here) == (precision in ("fp32", "tf32"))
    onnx.checker.check_model(onnx.load_model_from_string(sent))


def test_a_model_prepared_for_another_precision_is_refused(model: bytes) -> None:
    sent = prepared_for_board("test", model, "fp16", Calibration())
    with pytest.raises(BackendError, match="was prepared for fp16, and int8 is asked for"):
        prepared("test", sent, "int8")
    assert prepared("test", to_fp16("test", model), "fp16") == to_fp16("test", model)
