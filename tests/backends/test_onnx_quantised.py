"""INT8 for runtimes on a CPU: what is quantised, how exact it is, and that its kernels take integers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.backends.onnx_calibration import Calibration, value_ranges
from ponas_deploy.backends.onnx_quantised import (
    NARROW_WEIGHTS,
    IntegerForm,
    form_called,
    form_for,
    to_integers,
    values_to_quantise,
)
from ponas_deploy.backends.onnxruntime_sessions import session_options
from ponas_deploy.backends.protocol import Calibrated
from ponas_deploy.errors import BackendError
from searchspace import Architecture, Space, build_space
from searchspace.graph import network_model
from searchspace.weights import random_weights
from trained_digits import held_out, scale_images, top1_pct, trained_model

Array = NDArray[Any]
NARROW = IntegerForm(largest_weight=NARROW_WEIGHTS)
FORMS = (IntegerForm(), NARROW, IntegerForm(signed=True))


def quantised(model: bytes, form: IntegerForm, images: Array | None = None, layers: Any = None) -> bytes:
    ranges = value_ranges("test", model, Calibration(images), values_to_quantise("test", model, form, layers))
    made = to_integers("test", model, ranges, form, layers)
    onnx.checker.check_model(onnx.load_model_from_string(made), full_check=True)
    return made


def run(model: bytes, images: Array, kept: Path | None = None) -> Array:
    options = session_options(onnxruntime, RunSettings())
    if kept:
        options.optimized_model_filepath = str(kept)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {session.get_inputs()[0].name: images})[0]
    return found


def mean_difference(found: Array, expected: Array) -> float:
    return float(np.abs(found - expected).mean() / np.abs(expected).mean())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.text)
def test_a_trained_network_keeps_its_accuracy(form: IntegerForm) -> None:
    images, _ = held_out()
    expected = run(trained_model(), images)
    found = run(quantised(trained_model(), form, scale_images()), images)
    assert top1_pct(expected) > 93
    assert abs(top1_pct(found) - top1_pct(expected)) <= 1
    assert mean_difference(found, expected) <= (0.12 if form == NARROW else 0.06)


def test_the_optimised_model_computes_what_the_pairs_say(tmp_path: Path) -> None:
    """ONNX Runtime's kernels on integers against its plain Q/DQ: no distortion by its optimizers."""
    images, _ = held_out()
    model = quantised(trained_model(), IntegerForm(), scale_images())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    expected = plain.run(None, {"input": images})[0]
    assert mean_difference(run(model, images), expected) <= 0.01


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_backends_calibrated_with_images_keep_the_accuracy_and_say_what_they_used(
    backend: str, tmp_path: Path
) -> None:
    pytest.importorskip(backend)
    one, settings = get_backend(backend), RunSettings("int8")
    assert isinstance(one, Calibrated)
    assert "random" in dict(one.environment())["int8_scales"]
    one.calibrate(scale_images())
    assert "128 images" in dict(one.environment())["int8_scales"]
    images, _ = held_out()
    with one.load(trained_model(), RunSettings()) as session:
        expected = session.run(images)
    with one.load(trained_model(), settings) as session:
        found = session.run(images)
        assert session.settings() == settings
    assert not np.array_equal(found, expected)
    assert abs(top1_pct(found) - top1_pct(expected)) <= 1
    first, *_ = one.save(trained_model(), settings, tmp_path)
    with one.open(first, settings) as session:
        assert session.settings() == settings
        assert np.allclose(session.run(images), found, atol=1e-3)


def test_kernels_take_integers_wherever_more_than_a_pixel_is_read(tmp_path: Path) -> None:
    """On any x86: signed activations have kernels on ARM only."""
    space = build_space("ponas", resolution=160, classes=10)
    architecture = Architecture.from_indices(space, (3, 7, 1, 11, 0) + (2,) * 14)
    model = bytes(network_model(architecture, random_weights(architecture, 0)).SerializeToString())
    images = np.random.default_rng(0).standard_normal((1, 3, 160, 160)).astype(np.float32)
    run(quantised(model, NARROW), images, tmp_path / "optimised.onnx")
    nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
    floats = [node.name for node in nodes if node.op_type in ("Conv", "FusedConv")]
    assert floats
    assert all(".se." in name or ".reduce" in name or ".se" in name for name in floats)
    kinds = Counter(node.op_type for node in nodes)
    assert kinds["QLinearConv"] > 50
    assert kinds["Clip"] == 0


def test_weights_are_integers_by_channel_and_biases_by_the_product_of_scales() -> None:
    graph = onnx.load_model_from_string(quantised(trained_model(), NARROW, scale_images())).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    quantised_nodes = [
        node
        for node in graph.node
        if node.op_type in ("Conv", "Gemm") and made_by[node.input[0]].op_type == "DequantizeLinear"
    ]
    assert len(quantised_nodes) > 8
    for node in quantised_nodes:
        reads, weight, bias = (made_by[name] for name in node.input)
        whole, scale = (tensors[name] for name in weight.input[:2])
        assert whole.dtype == np.int8
        assert np.abs(whole).max() <= NARROW_WEIGHTS
        steps, of_bias = (tensors[name] for name in bias.input[:2])
        assert steps.dtype == np.int32
        product = float(tensors[reads.input[1]]) * scale
        assert np.array_equal(of_bias, product.astype(np.float32))
    assert not any(name == "classifier.weight" or name.endswith("conv.weight") for name in tensors)


def test_a_subset_of_layers_is_quantised_and_the_rest_stays() -> None:
    images, _ = held_out()
    layers = {"layers.1", "head.classifier"}
    made = quantised(trained_model(), IntegerForm(), scale_images(), layers)
    graph = onnx.load_model_from_string(made).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    weighted = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    chosen = {node.name for node in weighted if made_by.get(node.input[1]) == "DequantizeLinear"}
    assert "head.classifier" in chosen
    assert {"layers.1.expand", "layers.1.depthwise", "layers.1.project"} <= chosen
    assert all(name == "head.classifier" or name.startswith("layers.1.") for name in chosen)
    expected = run(trained_model(), images)
    part = mean_difference(run(made, images), expected)
    assert (
        0
        < part
        < mean_difference(run(quantised(trained_model(), IntegerForm(), scale_images()), images), expected)
    )
    with pytest.raises(BackendError, match=r"'layers.9' is no layer that can be quantised: known are stem"):
        values_to_quantise("test", trained_model(), IntegerForm(), {"layers.9"})


def test_no_layers_leave_the_model_as_it_is() -> None:
    images, _ = held_out()
    made = quantised(trained_model(), IntegerForm(), scale_images(), ())
    assert np.allclose(run(made, images), run(trained_model(), images), atol=1e-4)


def test_a_processor_says_which_integers() -> None:
    assert form_for(("avx2", "avx512_vnni")) == form_for(("avx_vnni",)) == form_for(("amx_int8",)) == FORMS[0]
    assert form_for(("avx2", "avx512f")) == form_for(()) == NARROW
    assert form_for(("asimd", "asimddp")) == FORMS[2]
    fused = [replace(form, fuses_hard_swish=True) for form in FORMS]
    assert [form_called(form.text) for form in (*FORMS, *fused)] == [*FORMS, *fused]
    assert form_for(("asimd",), fuses_hard_swish=True) == fused[2]
    assert form_called("another, h-swish in the convolution") == fused[1]
    assert {form.text for form in FORMS} == {
        "uint8 activations, weights of 8 bits by channel",
        "uint8 activations, weights of 7 bits by channel",
        "int8 activations, weights of 8 bits by channel",
    }


def test_a_dead_channel_with_a_bias_keeps_it() -> None:
    """Weights near 0 and a bias of 3: by their own scale it would not fit into 32 bits."""
    weight = np.full((2, 1, 1, 1), 1e-12, np.float32)
    weight[0] = 1.0
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "w", "b"], ["output"], name="conv")],
        "dead",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 2, 4, 4])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.float32([0.5, 3.0]), "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    images = np.full((1, 1, 4, 4), 0.25, np.float32)
    found = run(quantised(model.SerializeToString(), IntegerForm(), images), images)
    assert np.allclose(found[0, :, 0, 0], [0.75, 3.0], atol=0.01)


def test_what_was_not_calibrated_is_named() -> None:
    with pytest.raises(BackendError, match="'input' was not calibrated, or is not finite"):
        to_integers("test", trained_model(), {}, IntegerForm())


@pytest.mark.parametrize("fused", [False, True])
def test_a_hard_swish_reads_integers_unless_it_is_in_the_convolution(fused: bool) -> None:
    space = build_space("ofa-mbv3", resolution=64, classes=10)
    architecture = Architecture(space, ("k3e3",) * len(space.layers))
    model = bytes(network_model(architecture, random_weights(architecture, 0)).SerializeToString())
    graph = onnx.load_model_from_string(quantised(model, IntegerForm(fuses_hard_swish=fused))).graph
    made_by = {name: node for node in graph.node for name in node.output}
    before = [made_by[node.input[0]] for node in graph.node if node.op_type == "HardSwish"]
    behind_convolutions = [node for node in before if node.op_type in ("Conv", "DequantizeLinear")]
    assert len(behind_convolutions) > 10
    assert {node.op_type for node in behind_convolutions[:10]} == {"Conv" if fused else "DequantizeLinear"}
    read = {name for node in graph.node if node.op_type == "QuantizeLinear" for name in node.input}
    after = [node.output[0] for node in graph.node if node.op_type == "HardSwish"]
    assert len(read.intersection(after)) > 10


@pytest.mark.parametrize("name", ["ofa-mbv3", "spos-shufflenet"])
def test_other_spaces_are_quantised_too(name: str) -> None:
    space: Space = build_space(name, resolution=64, classes=10)
    architecture = Architecture.from_indices(
        space, space.groups.choices(np.zeros(len(space.groups.sizes), int)).tolist()
    )
    model = bytes(network_model(architecture, random_weights(architecture, 0)).SerializeToString())
    images = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    found, expected = run(quantised(model, IntegerForm()), images), run(model, images)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9
