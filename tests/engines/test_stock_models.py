"""Stock networks: the list, and models that are built once, checked, or left out where nothing builds."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.engines import stock_models
from ponas_deploy.engines.onnx_files import fixed_model
from ponas_deploy.engines.stock import STOCK, StockNetwork, stock_networks
from ponas_deploy.errors import MissingExtraError, UnknownNameError

SMALL = StockNetwork("Small", "torchvision", "mobilenet_v3_small", 67.67, "V1", "a test", resolution=32)


def test_the_list_names_each_number_s_weights() -> None:
    assert len(STOCK) == 20
    assert len({one.constructor for one in STOCK}) == 20
    assert all(60 < one.top1_pct < 85 and one.recipe and one.source for one in STOCK)
    assert {one.constructor for one in STOCK if one.distilled} == {"levit_128s", "hgnetv2_b0", "repvit_m0_9"}


def test_networks_are_asked_for_by_either_name() -> None:
    assert stock_networks() == STOCK
    assert stock_networks(["none"]) == stock_networks([]) == ()
    found = stock_networks(["ResNet-50", "resnet50", "mobilenetv2_100"])
    assert [one.name for one in found] == ["ResNet-50", "MobileNetV2"]
    with pytest.raises(UnknownNameError, match="stock network"):
        stock_networks(["resnet51"])


def test_a_model_is_built_once_and_again_where_it_was_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchvision", reason="torchvision (the extra train) is not installed")
    first = stock_models.stock_model(SMALL, batch=2)
    assert first.path.parent.name == first.built_by
    fixed = fixed_model(first.path, {}, 2)
    assert fixed.inputs == ("images: float32 2 x 3 x 32 x 32",)
    with get_backend("onnxruntime").load(fixed.data, RunSettings()) as session:
        logits = session.run(np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32))
    assert logits.shape == (2, 1000)
    assert np.isfinite(logits).all()
    assert np.abs(logits).max() > 1e-3, "values must not shrink to nothing on their way"
    data = first.path.read_bytes()
    built = list[str]()

    def refuse(*given: object, **more: object) -> bytes:
        built.append("once")
        return data

    monkeypatch.setattr("train.networks.stock.stock_model", refuse)
    assert stock_models.stock_model(SMALL, batch=2) == first
    assert not built
    first.path.write_bytes(data[:-1])
    assert stock_models.stock_model(SMALL, batch=2) == first
    assert built == ["once"]
    assert first.path.read_bytes() == data


def test_what_nothing_builds_is_left_out_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(stock_models, "version", nothing)
    pytest.importorskip("torch", reason="torch (the extra train) is not installed")
    monkeypatch.setattr("train.networks.stock.version", nothing)
    notes = list[str]()
    found = stock_models.stock_models(STOCK[:3], 1, notes.append, lambda done, total, text: None)
    assert found == ()
    (said,) = notes
    assert said == (
        "left out, for timm is not installed: pip install 'ponas-deploy[stock]':"
        " MobileNetV3-Small, PP-LCNet x1.0, MobileNetV4-Conv-S."
    )
    with pytest.raises(MissingExtraError, match="timm"):
        stock_models.stock_model(STOCK[0], 1)


def test_an_error_of_a_library_leaves_its_network_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchvision", reason="torchvision (the extra train) is not installed")

    def broken(name: str, **more: object) -> object:
        raise RuntimeError("no kernel for this operator.\nand a trace")

    monkeypatch.setattr("torchvision.models.get_model", broken)
    notes = list[str]()
    assert stock_models.stock_models([SMALL], 1, notes.append, lambda done, total, text: None) == ()
    (said,) = notes
    assert said.startswith("left out, for an error in torchvision-")
    assert said.endswith(": no kernel for this operator: Small.")


def test_a_stored_model_serves_where_its_library_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchvision", reason="torchvision (the extra train) is not installed")
    first = stock_models.stock_model(SMALL, batch=1)

    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(stock_models, "version", nothing)
    assert stock_models.stock_model(SMALL, batch=1) == first


def test_means_over_all_pixels_become_pooling() -> None:
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [2, 3, 5, 5])
    found = helper.make_tensor_value_info("found", TensorProto.FLOAT, [2, 3])
    nodes = [
        helper.make_node("Relu", ["images"], ["positive"]),
        helper.make_node("ReduceMean", ["positive"], ["pooled"], axes=[2, 3], keepdims=1),
        helper.make_node("Add", ["positive", "pooled"], ["both"]),
        helper.make_node("ReduceMean", ["both"], ["found"], axes=[-1, -2], keepdims=0),
    ]
    graph = helper.make_graph(nodes, "means", [images], [found])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    before = made.SerializeToString()
    after = stock_models.with_global_pooling(before)
    kinds = [node.op_type for node in onnx.load_model_from_string(after).graph.node]
    assert kinds == ["Relu", "GlobalAveragePool", "Add", "ReduceMean"]
    given = np.random.default_rng(0).standard_normal((2, 3, 5, 5), np.float32)
    outputs = []
    for model in (before, after):
        with get_backend("onnxruntime").load(model, RunSettings()) as session:
            outputs.append(session.run(given))
    np.testing.assert_allclose(*outputs, rtol=1e-5)
