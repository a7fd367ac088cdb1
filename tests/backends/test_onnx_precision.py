"""The very ONNX that TensorRT is given in FP16 and INT8, run by ONNX Runtime and compared with float32.

Tolerances are of the largest difference over the largest output, with random weights and normal images:

    FP16   1 %                                 19 layers came to 0.7 %
    INT8   12 % a block, 30 % a whole network  8 % and 19 % were the worst seen

Random weights spread a rounding error more than trained ones do, so that a whole network in INT8 must also
keep the direction of its logits (correlation 0.97). A trained one must keep its accuracy.

All of it runs as `onnxruntime_sessions.py` has it: exact. By its defaults ONNX Runtime turns biases into
whole numbers by scales in half precision, which distorts such models and is nothing that TensorRT does. On a
CPU FP16 is computed through casts, which tests the types and the numbers and says nothing about speed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ponas_deploy.backends.onnx_calibration import Calibration, largest_magnitudes, read_images
from ponas_deploy.backends.onnx_precision import quantised_values, to_fp16, to_int8
from ponas_deploy.backends.onnxruntime_sessions import compiled
from ponas_deploy.errors import BackendError, FileFormatError
from searchspace import Architecture, Space, build_space
from searchspace.graph import model as block_model
from searchspace.graph import network_model
from searchspace.weights import random_block, random_weights
from trained_digits import held_out, scale_images, top1_pct, trained_model

Array = NDArray[Any]
LAYERS = (0, 2, 6, 18)


def int8(model: bytes, calibration: Calibration | None = None) -> bytes:
    return to_int8("test", model, largest_magnitudes("test", model, calibration or Calibration()))


def fp16(model: bytes) -> bytes:
    return to_fp16("test", model)


def run(model: bytes, images: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = compiled(onnxruntime, model, options)
    source = session.get_inputs()[0]
    dtype = {"tensor(float)": np.float32, "tensor(float16)": np.float16}[source.type]
    found: Array = session.run(None, {source.name: images.astype(dtype)})[0]
    return found.astype(np.float32)


def difference(found: Array, expected: Array) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def checked(model: bytes) -> Any:
    """The proto, after ONNX has checked its types and shapes throughout."""
    proto = onnx.load_model_from_string(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


@pytest.fixture(scope="module")
def ponas() -> Space:
    return build_space("ponas", resolution=64, classes=10)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_whole_networks_in_both_precisions(ponas: Space, seed: int) -> None:
    random = np.random.default_rng(seed)
    architecture = Architecture.from_indices(ponas, tuple(int(i) for i in random.integers(0, 12, 19)))
    made = network_model(architecture, random_weights(architecture, seed)).SerializeToString()
    images = random.standard_normal((1, 3, 64, 64)).astype(np.float32)
    expected = run(made, images)
    assert difference(run(fp16(made), images), expected) <= 0.01
    integers = run(int8(made), images)
    assert difference(integers, expected) <= 0.3
    assert np.corrcoef(integers.ravel(), expected.ravel())[0, 1] >= 0.97


def test_a_trained_network_keeps_its_accuracy_in_both_precisions() -> None:
    images, _ = held_out()
    expected = run(trained_model(), images)
    assert top1_pct(expected) > 93
    assert difference(run(fp16(trained_model()), images), expected) <= 0.01
    found = run(int8(trained_model(), Calibration(scale_images())), images)
    assert abs(top1_pct(found) - top1_pct(expected)) <= 1
    assert np.abs(found - expected).mean() <= 0.05 * np.abs(expected).mean()


@pytest.mark.parametrize("candidate", range(12))
def test_every_candidate_in_both_precisions(ponas: Space, candidate: int) -> None:
    for layer in LAYERS:
        cell = ponas.cell(layer, candidate)
        made = block_model(
            [("block", cell.ops)], cell.input_shape, random_block(cell.ops, "block"), 2, "block"
        ).SerializeToString()
        images = np.random.default_rng(layer).standard_normal((2, *cell.input_shape)).astype(np.float32)
        expected = run(made, images)
        assert difference(run(fp16(made), images), expected) <= 0.01
        assert difference(run(int8(made), images), expected) <= 0.12


def test_half_precision_is_in_every_type(model: bytes) -> None:
    proto = checked(fp16(model))
    values = (*proto.graph.input, *proto.graph.output, *proto.graph.value_info)
    assert {value.type.tensor_type.elem_type for value in values} == {TensorProto.FLOAT16}
    assert {tensor.data_type for tensor in proto.graph.initializer} == {TensorProto.FLOAT16}
    assert [node.op_type for node in proto.graph.node] == [
        node.op_type for node in onnx.load_model_from_string(model).graph.node
    ]


def test_int8_is_explicit_symmetric_and_signed(model: bytes) -> None:
    graph = checked(int8(model)).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(pairs) == sum(node.op_type == "DequantizeLinear" for node in graph.node) > 10
    for node in pairs:
        scale, zero = (tensors[name] for name in node.input[1:])
        assert (scale.dtype, zero.dtype) == (np.float16, np.int8)
        assert zero.shape == scale.shape
        assert not zero.any()
        if node.input[0] in tensors:
            weight, axis = tensors[node.input[0]], node.attribute[0].i
            assert scale.shape == (weight.shape[axis],)
            shape = [-1 if dimension == axis else 1 for dimension in range(weight.ndim)]
            assert np.abs(weight / scale.astype(np.float32).reshape(shape)).max() <= 127
        else:
            assert scale.shape == ()


def test_what_reads_integers_and_what_does_not(model: bytes) -> None:
    """Convolutions, the classifier and residual additions do; the gates of squeeze-and-excite do not."""
    graph = checked(int8(model)).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    weighted = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    read = {node.name: [made_by.get(name, "") for name in node.input[:2]] for node in weighted}
    plain = {name for name, found in read.items() if found != ["DequantizeLinear"] * 2}
    assert plain == {name for name in read if ".reduce" in name or (".expand" in name and ".se" in name)}
    assert len(plain) < len(read) / 2
    additions = [node for node in graph.node if node.op_type == "Add"]
    assert additions
    for node in additions:
        assert [made_by.get(name) for name in node.input] == ["Conv", "DequantizeLinear"]
    assert read["head.classifier"] == ["DequantizeLinear"] * 2


def test_the_same_model_gives_the_same_bytes(model: bytes) -> None:
    assert int8(model) == int8(model)
    assert fp16(model) == fp16(model)


def test_real_images_set_the_scales_and_a_percentile_narrows_them(model: bytes) -> None:
    images = np.random.default_rng(3).uniform(-1, 1, (5, 3, 32, 32)).astype(np.float32)
    full = largest_magnitudes("test", model, Calibration(images))
    assert full["input"] == np.abs(images).max()
    narrow = largest_magnitudes("test", model, Calibration(images, percentile=99))
    assert all(narrow[name] <= full[name] for name in full)
    assert narrow["input"] < full["input"]
    assert tuple(full) == quantised_values(onnx.load_model_from_string(model))
    with pytest.raises(BackendError, match=r"images are \(3, 16, 32\) each, the model takes \(3, 32, 32\)"):
        largest_magnitudes("test", model, Calibration(images[:, :, :16]))


def test_what_scales_cannot_come_from_is_refused(tmp_path: Path) -> None:
    for wrong in (
        np.zeros((0, 3, 8, 8), np.float32),
        np.zeros((3, 8, 8), np.float32),
        np.zeros((2, 3, 8, 8), np.uint8),
        np.full((2, 3, 8, 8), np.nan, np.float32),
    ):
        with pytest.raises(BackendError, match="give finite float32 values"):
            Calibration(wrong)
    images = np.ones((2, 3, 8, 8), np.float32)
    np.save(tmp_path / "images.npy", images)
    assert np.array_equal(read_images(tmp_path / "images.npy"), images)
    np.savez(tmp_path / "several.npz", images)
    np.save(tmp_path / "objects.npy", np.array([object()]))
    (tmp_path / "empty.npy").touch()
    for name in ("several.npz", "objects.npy", "empty.npy", "missing.npy"):
        with pytest.raises(FileFormatError, match=name):
            read_images(tmp_path / name)


def test_every_image_is_seen_however_they_fill_batches() -> None:
    images = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1)
    batches = [batch.ravel().tolist() for batch in Calibration(images).batches((2, 1, 1, 1))]
    assert batches == [[0, 1], [2, 3], [4, 0]]


def test_calibration_describes_itself() -> None:
    assert Calibration().text == "symmetric, maximum of 4 random batches"
    images = np.zeros((2, 3, 4, 4), np.float32)
    assert Calibration(images, 99.9).text.startswith("symmetric, percentile 99.9 of 2 images (")
    with pytest.raises(BackendError, match="percentile 20"):
        Calibration(percentile=20)


def test_tiny_channels_get_a_scale_that_half_precision_holds() -> None:
    weight = np.full((2, 1, 1, 1), 1e-6, np.float32)
    weight[0] = 1.0
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "w"], ["output"])],
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 2, 4, 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    converted = int8(made.SerializeToString())
    scales = {
        t.name: numpy_helper.to_array(t) for t in onnx.load_model_from_string(converted).graph.initializer
    }
    assert scales["w.scale"].tolist() == [np.nextafter(np.float16(1 / 127), np.float16(1)), 2**-14]
    assert np.isfinite(run(converted, np.ones((1, 1, 4, 4), np.float32))).all()


def test_biases_stay_as_they_are() -> None:
    """Of scales whose product is no half that counts: ONNX Runtime 1.32 has -12.6 here by its defaults."""
    shape = [1, 1, 4, 4]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "w", "b"], ["middle"], name="first"),
            helper.make_node("Conv", ["middle", "one"], ["output"], name="second"),
        ],
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(np.full((1, 1, 1, 1), 0.01, np.float32), "w"),
            numpy_helper.from_array(np.float32([200.0]), "b"),
            numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "one"),
        ],
        value_info=[helper.make_tensor_value_info("middle", TensorProto.FLOAT, shape)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    images = np.full(shape, 0.01, np.float32)
    found = run(int8(made.SerializeToString(), Calibration(images)), images)
    assert np.allclose(found, 200.0, rtol=0.01)


def test_only_the_layers_that_were_named_are_quantised(model: bytes) -> None:
    layers = {"layers.2", "head.classifier"}
    largest = largest_magnitudes("test", model, Calibration(), layers)
    graph = checked(to_int8("test", model, largest, layers)).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    weighted = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    chosen = {node.name for node in weighted if made_by.get(node.input[1]) == "DequantizeLinear"}
    assert chosen == {"layers.2.expand", "layers.2.depthwise", "layers.2.project", "head.classifier"}
    with pytest.raises(BackendError, match=r"'layers\.7' is no layer that can be quantised"):
        to_int8("test", model, largest, {"layers.7"})


def test_constants_and_casts_of_others_models_become_half_too() -> None:
    constant = numpy_helper.from_array(np.float32([2.0]), "value")
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["two"], value=constant),
            helper.make_node("Mul", ["input", "two"], ["doubled"]),
            helper.make_node("Cast", ["doubled"], ["output"], to=TensorProto.FLOAT),
        ],
        "others",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checked(fp16(made.SerializeToString()))
    assert run(fp16(made.SerializeToString()), np.ones((1, 3), np.float32)).tolist() == [[2, 2, 2]]


@pytest.mark.parametrize("convert", [fp16, int8])
def test_a_weight_beyond_half_precision_is_named(model: bytes, convert: Callable[[bytes], bytes]) -> None:
    proto = onnx.load_model_from_string(model)
    name = proto.graph.initializer[0].name
    huge = numpy_helper.to_array(proto.graph.initializer[0]) * np.float32(1e9)
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(huge, name))
    with pytest.raises(BackendError, match=f"the weight '{name}' reaches .*ask for fp32"):
        convert(proto.SerializeToString())


def test_what_was_not_calibrated_is_named(model: bytes) -> None:
    found = dict(largest_magnitudes("test", model, Calibration()))
    for wrong in ({}, {**found, "input": float("nan")}):
        with pytest.raises(BackendError, match="'input' was not calibrated, or is not finite"):
            to_int8("test", model, wrong)


@pytest.fixture
def model(tiny: Space) -> bytes:
    """Three layers with squeeze-and-excite, without, and with a residual addition."""
    architecture = Architecture.from_indices(tiny, (3, 0, 1))
    return bytes(network_model(architecture, random_weights(architecture), batch=2).SerializeToString())
